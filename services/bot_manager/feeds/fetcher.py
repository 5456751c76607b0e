"""Fetches feeds over HTTP from addresses that users gave: every bound is ours.

At most MAX_REDIRECTS hops, each checked like the first; at most MAX_BYTES, packed and unpacked; one time limit for all of it. Addresses
are checked by `outbound.py`. No proxy, cookie or password of this machine is used, and no connection is kept.
"""

import asyncio
import zlib
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import aiohttp
from yarl import URL

from mesh.errors import FailedPrecondition
from services.bot_manager.feeds.model import FeedBody, Validators
from services.bot_manager.outbound import AddressRefused, open_session

MIB: Final = 1024 * 1024
MAX_BYTES: Final = 2 * MIB
MAX_REDIRECTS: Final = 5
MAX_VALIDATOR: Final = 500
"""Characters of an ETag or date that is sent back; a longer one is not kept."""
AT_ONCE: Final = 16
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
GZIP_OR_ZLIB: Final = 47
"""`wbits` of zlib that takes either header."""
HEADERS: Final = {
    "User-Agent": "ViveSphere Bot Manager (feed reader)",
    "Accept": "application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.1",
    "Accept-Encoding": "gzip",
}


class FeedFetcher:
    """`time_limit` is for one feed with all its redirects; close it in the end."""

    def __init__(self, time_limit: Callable[[], timedelta], allow_private: Callable[[], bool]) -> None:
        self._time_limit = time_limit
        self._session = open_session(allow_private, at_once=AT_ONCE, unpack=False)

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()

    async def fetch(self, url: str, validators: Validators) -> FeedBody | None:
        """What the feed says now; None if it says that nothing has changed.

        Raises FailedPrecondition (CONTENT_UNAVAILABLE) with a sentence for people; the address is not in it.
        """
        limit = self._time_limit()
        try:
            async with asyncio.timeout(limit.total_seconds()):
                return await self._follow(URL(url), validators)
        except TimeoutError:
            raise unavailable(f"the feed did not answer within {limit.total_seconds():g} seconds") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                raise unavailable("the feed's address is inside a private network") from None
            raise unavailable("the feed cannot be reached") from None
        except (aiohttp.ClientError, OSError, ValueError, zlib.error):
            raise unavailable("the feed cannot be reached, or answers something that is not HTTP") from None

    async def _follow(self, url: URL, validators: Validators) -> FeedBody | None:
        for _ in range(MAX_REDIRECTS + 1):
            _check(url)
            headers = {**HEADERS, **_conditions(validators)}
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status in REDIRECTS:
                    url = url.join(URL(response.headers.get("Location", "")))
                    continue
                if response.status == 304 and validators != Validators():
                    return None
                if response.status != 200:
                    raise unavailable(f"the feed answers with status {response.status}")
                return await _body(response)
        raise unavailable(f"the feed redirects more than {MAX_REDIRECTS} times")


def unavailable(message: str) -> FailedPrecondition:
    """What is raised for a feed that gives nothing."""
    return FailedPrecondition("CONTENT_UNAVAILABLE", message)


def _check(url: URL) -> None:
    if url.scheme not in ("http", "https") or not url.host:
        raise unavailable("the feed leads to an address that is neither http nor https")
    if url.user is not None or url.password is not None:
        raise unavailable("the feed's address holds a user name or password")


def _conditions(validators: Validators) -> dict[str, str]:
    given = {"If-None-Match": validators.etag, "If-Modified-Since": validators.last_modified}
    return {name: value for name, value in given.items() if value}


async def _body(response: aiohttp.ClientResponse) -> FeedBody:
    packed = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        packed += chunk
        if len(packed) > MAX_BYTES:
            raise _too_large()
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    return FeedBody(
        _unpacked(bytes(packed), encoding),
        response.headers.get("Content-Type", ""),
        Validators(_kept(response, "ETag"), _kept(response, "Last-Modified")),
    )


def _unpacked(packed: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return packed
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise unavailable("the feed is packed in a way that was not asked for")
    content = zlib.decompressobj(GZIP_OR_ZLIB).decompress(packed, MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _too_large()
    return content


def _too_large() -> FailedPrecondition:
    return unavailable(f"the feed is larger than {MAX_BYTES // MIB} MiB")


def _kept(response: aiohttp.ClientResponse, name: str) -> str:
    value = response.headers.get(name, "")
    return value if len(value) <= MAX_VALIDATOR else ""
