"""The way to X's host: one HTTP session for the process, the bounds of every call, and what its failures mean.

Connections go back to the pool only for a few seconds: one that X closed in the meantime would turn an unsent request into one of
unknown outcome. Cookies are dropped, since all bots share the session.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import aiohttp
from yarl import URL

from mesh.clock import Clock
from services.bot_manager.domain.outcomes import Exchange

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""Far beyond any answer of the calls made here; what is longer is not X."""
MAX_CONNECTIONS: Final = 1024
IDLE_CONNECTION_SECONDS: Final = 5
CONNECT_SHARE: Final = 0.4
"""Part of the time limit that reaching X may take, a wait for a connection of the pool included."""
NEVER_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
"""What aiohttp raises before it has a connection to write to."""
BROKEN: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
"""Everything that a call can fail with otherwise: X may have heard it."""


class XHttp:
    """Sends requests to one host. `request_timeout` is asked for each, so that the setting can change. Made inside the running loop."""

    def __init__(self, base_url: str, *, request_timeout: Callable[[], timedelta], clock: Clock) -> None:
        self.base_url = base_url.rstrip("/")
        self._request_timeout = request_timeout
        self.clock = clock
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=IDLE_CONNECTION_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def send(
        self, method: str, url: str, headers: dict[str, str], *, limit: timedelta | None = None, **body: Any
    ) -> Exchange:
        """One request, once: redirects are not followed. `url` goes out as it is. Raises NEVER_SENT or BROKEN."""
        total = (limit or self._request_timeout()).total_seconds()
        started = self.clock.monotonic()
        async with self._session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            timeout=aiohttp.ClientTimeout(
                total=total, connect=total * CONNECT_SHARE, sock_connect=total * CONNECT_SHARE
            ),
            allow_redirects=False,
            **body,
        ) as response:
            content = await _read_body(response)
        return Exchange(
            response.status,
            {name.lower(): value for name, value in response.headers.items()},
            content,
            self.since(started),
        )

    def since(self, started: float) -> timedelta:
        """How long ago a monotonic moment was."""
        return timedelta(seconds=self.clock.monotonic() - started)


def cause(error: BaseException) -> str:
    """What broke, in words without addresses or data."""
    if isinstance(error, TimeoutError):
        return "no connection in time" if isinstance(error, NEVER_SENT) else "no answer in time"
    number = getattr(error, "errno", None)
    return type(error).__name__ + (f" (errno {number})" if number else "")


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    left = MAX_BODY_BYTES
    async for chunk in response.content.iter_any():
        left -= len(chunk)
        if left < 0:
            raise aiohttp.ClientPayloadError("the answer is too long")
        chunks.append(chunk)
    return b"".join(chunks)
