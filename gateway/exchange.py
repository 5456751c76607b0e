"""One HTTP request and its answer, over ASGI.

Owns what every answer has in common (request id, security headers, that nobody stores it), the bounded reading of a body, and
the watch for a client that goes away. A watch costs about as much as a small answer, so it starts only once a call has taken a while.
A large answer goes in pieces, as streams do, so that a client which does not read holds one piece and not all of it
(`gateway.edge.stall`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

from gateway.edge import compression
from gateway.edge.admission import Ticket
from gateway.edge.conditional import Condition
from gateway.edge.stall import StallGuard
from gateway.metadata import RequestHeaders
from gateway.transcoding.error_page import HTML, error_page
from gateway.transcoding.errors import ErrorAnswer, malformed, too_large
from gateway.transcoding.rendering import JSON, dump

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
HeaderList = Sequence[tuple[bytes, bytes]]

WATCH_LOOK_SECONDS: Final = 0.025
"""Between two looks for calls that take a while; a watch starts at the second look after its beginning."""
WRITE_TIMEOUT_SECONDS: Final = 30.0
PIECE_BYTES: Final = 256 * 1024
BODY_BYTES_PER_SECOND: Final = (
    500  # slowest a body may come after the first timeout; mod_reqtimeout's default
)
DISCARD_SECONDS: Final = 1.0
DISCARD_TIMES: Final = 8  # times the limit
GONE: Final = 499  # nginx's "client closed request"; never sent, only counted

# On every answer that does not say otherwise: an API's answer is no page and no frame, whatever a service puts into it, and is
# for its reader alone.
_COMMON: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"server", b"vivesphere"),
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_COMMON_NAMES: Final = frozenset(name for name, _ in _COMMON)


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class Exchange:
    """A request being answered. `status` is what was sent, or 499 once the client is gone, or reads no more."""

    __slots__ = (
        "_client",
        "_guard",
        "_loop",
        "_receive",
        "_send",
        "as_page",
        "client",
        "compressible",
        "condition",
        "extra",
        "headers",
        "method",
        "path",
        "peer",
        "query",
        "scheme",
        "status",
        "task",
        "ticket",
        "version",
        "write_timeout",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, headers: RequestHeaders) -> None:
        self._receive = receive
        self._send = send
        self._guard: StallGuard | None = None
        self._loop = asyncio.get_running_loop()
        self.task = asyncio.current_task(self._loop)
        self.headers = headers
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("latin-1")
        self.query: str = scope["query_string"].decode("latin-1")
        self._client: tuple[str, int] | None = scope.get("client")
        self.peer: str = self._client[0] if self._client else ""
        self.scheme: str = scope.get("scheme", "http")
        self.version: str = scope["http_version"]
        self.status = 0
        self.as_page = False
        """Whether an error is shown as a page."""
        self.client = self.peer
        """The address of who asks; `peer` holds the connection, and may be a proxy."""
        self.extra: HeaderList = ()
        """Headers of every answer to this request (`gateway.edge.front`)."""
        self.compressible = False
        """Whether a whole answer may be compressed; see `gateway.edge.compression` for what may not."""
        self.condition: Condition | None = None
        """The If-Match of a call that may change something."""
        self.ticket: Ticket | None = None
        """What the request was let in with (`gateway.edge.admission`)."""
        self.write_timeout = WRITE_TIMEOUT_SECONDS

    @property
    def connection(self) -> tuple[str, int]:
        """Address and port of the other end; granian gives the port as text."""
        return (self._client[0], int(self._client[1])) if self._client else ("", 0)

    @property
    def is_bare(self) -> bool:
        """Whether the path is all that the request says of its message: no query, no body, no key. HTTP/2 tells of a body only when it
        comes, so there the answer is no."""
        return not (self.query or self.version == "2" or self.headers.has_body_or_key)

    async def body_pieces(self, timeout: float) -> AsyncIterator[bytes]:
        """The body as it comes; raises GatewayError when no piece comes for `timeout`, ClientGoneError."""
        if self.headers.content_length == 0 or (self.version.startswith("1") and not self.headers.has_body):
            return
        more = True
        pace = Pace(timeout)
        while more:
            event = await self._receive_body(pace)
            more = event.get("more_body", False)
            if piece := event.get("body", b""):
                yield piece

    async def _receive_body(self, pace: "Pace") -> dict[str, Any]:
        began = time.monotonic()
        try:
            event = await asyncio.wait_for(self._receive(), pace.left())
        except TimeoutError:
            raise malformed("the body did not arrive in time", http_status=408) from None
        pace.came(len(event.get("body", b"")), time.monotonic() - began)
        if event["type"] == "http.disconnect":
            raise ClientGoneError
        return event

    async def read_body(self, limit: int, timeout: float) -> bytes:
        """The whole body; raises GatewayError over the limit or past the time, ClientGoneError."""
        length = self.headers.content_length
        if length is not None and length > limit:
            await self.discard(limit)
            raise too_large("body", limit)
        if length == 0 or (self.version.startswith("1") and not self.headers.has_body):
            return b""
        pieces: list[bytes] = []
        size = 0
        more = True
        pace = Pace(timeout)
        while more:
            event = await self._receive_body(pace)
            piece = event.get("body", b"")
            size += len(piece)
            if size > limit:
                await self.discard(limit)
                raise too_large("body", limit)
            pieces.append(piece)
            more = event.get("more_body", False)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def discard(self, limit: int) -> None:
        """Read away some of a body that is refused, so that a client which is still sending gets to read the answer."""
        if self.headers.get(b"expect") is not None:  # it waits for our word before it sends
            return
        left = limit * DISCARD_TIMES
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                while left > 0:
                    event = await self._receive()
                    left -= len(event.get("body", b""))
                    if not event.get("more_body", False):
                        return
        except TimeoutError:
            return

    async def respond(self, status: int, content_type: bytes, body: bytes, headers: HeaderList = ()) -> None:
        """Send a whole answer. A HEAD request gets the headers alone."""
        if self.compressible and len(body) >= compression.COMPRESS_FROM_BYTES:
            body, headers = await self._compressed(content_type, body, headers)
        length = (b"content-length", b"%d" % len(body))
        await self.start(status, [(b"content-type", content_type), length, *headers])
        if self.method == "HEAD":
            body = b""
        if len(body) <= PIECE_BYTES:
            await self._send({"type": "http.response.body", "body": body})
            return
        for at in range(0, len(body), PIECE_BYTES):
            await self.piece(body[at : at + PIECE_BYTES], last=at + PIECE_BYTES >= len(body))

    async def _compressed(
        self, content_type: bytes, body: bytes, headers: HeaderList
    ) -> tuple[bytes, HeaderList]:
        named = {name for name, _ in headers}
        if b"etag" in named or b"content-encoding" in named or not compression.is_text(content_type):
            return body, headers
        headers = [*headers, compression.VARY]
        coding = compression.choose(self.headers.get(b"accept-encoding") or "")
        if not coding:
            return body, headers
        return await compression.encode(body, coding), [*headers, (b"content-encoding", coding.encode())]

    async def respond_nothing(self, status: int, headers: HeaderList = ()) -> None:
        """Send an answer that has no body."""
        await self.start(status, headers)
        await self._send({"type": "http.response.body", "body": b""})

    async def respond_error(self, answer: ErrorAnswer) -> None:
        """Send an error as google.rpc.Status, or as a page that says the same."""
        if self.as_page:
            page = error_page(answer, self.headers.request_id)
            await self.respond(answer.http_status, HTML, page, answer.headers)
            return
        await self.respond(answer.http_status, JSON, dump(answer.body), answer.headers)

    async def start(self, status: int, headers: HeaderList) -> None:
        """Send status and headers; pieces follow."""
        self.status = status
        common = _COMMON
        for name, _ in headers:
            if name in _COMMON_NAMES:
                named = {name for name, _ in headers}
                common = tuple(header for header in _COMMON if header[0] not in named)
                break
        request_id = (b"x-request-id", self.headers.request_id.encode())
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, request_id, *common, *self.extra],
            }
        )

    async def piece(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece of the body; returns when the server has room for more.

        A client that leaves no room for `write_timeout` seconds ends the request: `status` is 499 and the request's task is cancelled.
        To a client that is gone, or was cut so, nothing is sent.
        """
        if self.status == GONE:
            return
        guard = self._guard
        if guard is None:
            guard = self._guard = StallGuard(self.write_timeout, self._cut)
        guard.begin()
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        guard.end()

    def _cut(self) -> None:
        self.status = GONE
        if self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        """The request is over: give back its place, watch nothing any more."""
        if self._guard is not None:
            self._guard.stop()
            self._guard = None  # it knows this object, as the task does: circles would wait for the collector
        self.task = None
        if self.ticket is not None:
            self.ticket.leave()

    def watch(self, on_gone: Callable[[], object]) -> "Watch":
        """Call `on_gone` when the client goes away; use as a context manager around the waiting."""
        return Watch(self, self._receive, on_gone, self._loop)


class Pace:
    """How long to wait for the next piece of a body: not longer than the timeout, and for all pieces together only a little longer, as
    the body grows. Time that the gateway itself takes between two pieces does not count."""

    __slots__ = ("_size", "_timeout", "_waited")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._waited = 0.0
        self._size = 0

    def left(self) -> float:
        """Seconds; 0 when the time is up."""
        allowed = self._timeout + self._size / BODY_BYTES_PER_SECOND
        return min(self._timeout, max(0.0, allowed - self._waited))

    def came(self, size: int, seconds: float) -> None:
        """A piece of `size` bytes came after that many seconds."""
        self._size += size
        self._waited += seconds


class Watch:
    """Waits for the client's disconnect in a task of its own, which the context manager ends."""

    __slots__ = ("_exchange", "_loop", "_on_gone", "_receive", "_task", "open")

    def __init__(
        self,
        exchange: Exchange,
        receive: Receive,
        on_gone: Callable[[], object],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._exchange = exchange
        self._receive = receive
        self._on_gone = on_gone
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self.open = False

    def __enter__(self) -> "Watch":
        self.open = True
        _waiting.add(self, self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False
        if self._task is not None:
            self._task.cancel()
            self._task = None  # as for close()

    def start(self) -> None:
        """Begin to wait."""
        self._task = self._loop.create_task(self._wait(), name="gateway disconnect watch")

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._exchange.status = GONE
        self._on_gone()


class _Waiting:
    """Watches that may have to start, with one timer for all: most calls end before theirs would."""

    def __init__(self) -> None:
        self._new: list[Watch] = []
        self._seen: list[Watch] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        """Where the timer runs; None when there is nothing to look at."""

    def add(self, watch: Watch, loop: asyncio.AbstractEventLoop) -> None:
        """Start this watch in a while, if it is open then."""
        if loop is not self._loop:
            self._new, self._seen, self._loop = [], [], loop
            loop.call_later(WATCH_LOOK_SECONDS, self._look, loop)
        self._new.append(watch)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:  # another one took over
            return
        for watch in self._seen:
            if watch.open:
                watch.start()
        self._new, self._seen = [], [watch for watch in self._new if watch.open]
        if self._seen:
            loop.call_later(WATCH_LOOK_SECONDS, self._look, loop)
        else:
            self._loop = None


_waiting = _Waiting()
