"""One HTTP exchange with a vault, in the shape hvac's API classes speak through.

hvac's own adapters follow redirects with the token, put the URL and the answer's text into exceptions, and read tokens and
proxies from the environment. `Wire` has the methods those classes call (get, post, put, delete, list, login) and none of
that: it pins the CA, follows nothing, reads no environment, bounds time and size, and returns every status as an `Answer`, so
there is no exception with content. The only exception is `Lost`: no readable answer came.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from mesh.secret import Secret

KiB: Final = 1024
MAX_ANSWER_BYTES: Final = 16 * 1024 * KiB
PIECE_BYTES: Final = 64 * KiB
# A dead address must not eat the whole deadline, the next one still has to be asked; but one lost SYN, which is sent again after a
# second (RFC 6298 section 2.1), is not a dead address.
MAX_CONNECT_SECONDS: Final = 1.5
MAX_RETRY_AFTER_SECONDS: Final = 60

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the vault said. `body` may hold secrets, so it has no repr; it is empty when there was none."""

    status: int
    body: Json = field(default_factory=dict, repr=False)
    retry_after: timedelta | None = None

    @property
    def data(self) -> Json:
        """The `data` member, empty when absent."""
        found = self.body.get("data")
        return found if isinstance(found, dict) else {}

    def complains(self, words: str) -> bool:
        """Whether one of the answer's error texts contains `words`. The texts themselves go nowhere."""
        return any(words in text for text in self.errors)

    @property
    def errors(self) -> list[str]:
        """Error texts, for telling causes apart only."""
        found = self.body.get("errors")
        return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


class Lost(Exception):
    """No readable answer. `sent`: the vault may have seen the request. Carries nothing else."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__("no answer")
        self.sent = sent


def open_session(ca_file: str, connections: int) -> urllib3.PoolManager:
    """A pool that trusts one CA bundle, keeps no cookies, reads no environment and holds `connections` per address.

    urllib3 and not requests, which does the same on it for twice the time: two exchanges are most of what reading a secret costs.
    """
    return urllib3.PoolManager(
        maxsize=connections,
        block=True,
        retries=False,
        ca_certs=ca_file,
        cert_reqs="CERT_REQUIRED",
        headers={"User-Agent": "vivesphere", "Accept-Encoding": "identity", "X-Vault-Request": "true"},
    )


class Wire:
    """Exchanges with one address under one token until `deadline` (seconds of time.monotonic). Made anew for every call."""

    def __init__(
        self, session: urllib3.PoolManager, address: str, token: Secret | None, deadline: float
    ) -> None:
        self._session = session
        self._address = address
        self._token = token
        self._deadline = deadline

    def get(self, url: str, **request: Any) -> Answer:
        """GET `url`, a path beginning with `/v1/`."""
        return self._exchange("GET", url, request)

    def post(self, url: str, **request: Any) -> Answer:
        """POST, with `json=`."""
        return self._exchange("POST", url, request)

    def put(self, url: str, **request: Any) -> Answer:
        """PUT, with `json=`."""
        return self._exchange("PUT", url, request)

    def delete(self, url: str, **request: Any) -> Answer:
        """DELETE."""
        return self._exchange("DELETE", url, request)

    def list(self, url: str, **request: Any) -> Answer:
        """The vault's own verb LIST."""
        return self._exchange("LIST", url, request)

    def login(self, url: str, use_token: bool = False, **request: Any) -> Answer:
        """POST of credentials; what becomes of the token is `mesh.vault.login`'s business."""
        return self._exchange("POST", url, request)

    def under(self, token: Secret) -> "Wire":
        """The same way to the same address with another token."""
        return Wire(self._session, self._address, token, self._deadline)

    def _exchange(self, method: str, url: str, request: Json) -> Answer:
        outcome = self._attempt(method, url, request.get("json"), request.get("params"))
        # Raised here, outside of any except block, so that no exception holding the request hangs on to it.
        if isinstance(outcome, Lost):
            raise outcome
        return outcome

    def _attempt(self, method: str, url: str, body: Any, params: Any) -> Answer | Lost:
        left = self._deadline - time.monotonic()
        if left <= 0:
            return Lost(sent=False)
        if params:
            url = f"{url}?{urlencode(params)}"
        try:
            response = self._session.request(
                method,
                self._address + url,
                body=None if body is None else json.dumps(body),
                headers=self._headers(body is not None),
                timeout=urllib3.Timeout(connect=min(left, MAX_CONNECT_SECONDS), read=left),
                redirect=False,
                preload_content=False,
            )
        except (HTTPError, OSError) as error:
            return Lost(sent=_may_have_been_sent(error))
        try:
            return self._read(response)
        finally:
            # Closes the connection unless the body was read to its end: a half-read one is never lent again.
            response.close()
            response.release_conn()

    def _headers(self, has_body: bool) -> dict[str, str]:
        headers = dict(self._session.headers)
        if has_body:
            headers["Content-Type"] = "application/json"
        if self._token is not None:
            headers["X-Vault-Token"] = self._token.reveal()
        return headers

    def _read(self, response: urllib3.BaseHTTPResponse) -> Answer | Lost:
        content = self._content(response)
        if content is None:
            return Lost(sent=True)
        body = _parse(content)
        if body is None and response.status < HTTPStatus.BAD_REQUEST:
            return Lost(sent=True)
        return Answer(response.status, body or {}, _retry_after(response.headers.get("Retry-After")))

    def _content(self, raw: urllib3.BaseHTTPResponse) -> bytes | None:
        """The whole body, or None when it is cut off, too large or too slow. `read1` returns per packet, so the clock is looked at."""
        content = bytearray()
        try:
            while piece := raw.read1(PIECE_BYTES):
                content += piece
                if len(content) > MAX_ANSWER_BYTES or time.monotonic() > self._deadline:
                    return None
        except (HTTPError, OSError):
            return None
        return bytes(content)


def _parse(content: bytes) -> Json | None:
    if not content.strip():
        return {}
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _retry_after(header: str | None) -> timedelta | None:
    if header is None or not header.isascii() or not header.isdigit():
        return None
    return timedelta(seconds=min(int(header[:6]), MAX_RETRY_AFTER_SECONDS))


def _may_have_been_sent(error: Exception) -> bool:
    """False only when it is certain that no byte of the request left: no connection, or no TLS."""
    return not isinstance(error, NewConnectionError | ConnectTimeoutError | SSLError)


# What hvac returns is untyped; `Link` makes sure that it is the Answer our wire gave.
Request = Callable[[Wire], Any]


class Call(Protocol):
    """How an engine reaches the vault: `VaultClient.call`."""

    async def __call__(self, request: Request, *, repeatable: bool) -> Answer:
        """Runs `request` on a worker thread under the client's token."""
        ...
