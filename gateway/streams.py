"""Streams of answers over HTTP, for methods that answer with one: whatever the form, one item is one flushed piece.

The first item is awaited before the headers leave, so that a stream which fails at once still has its real HTTP status. A stream that has
nothing to tell yet gets its headers all the same, after a second where events are asked for and after a heartbeat otherwise; from then on
a failure is a terminal item. While a stream is idle, heartbeats keep proxies from closing it and find out clients that are gone. A reader
that takes nothing for a while is given up (`gateway.edge.stall`). The service is read one item at a time and never ahead of the reader: what is on the way is
what fits the buffers of sockets and of HTTP/2.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from gateway import failures
from gateway.answers import unprintable
from gateway.backends import Backend
from gateway.exchange import GONE, ClientGoneError, Exchange
from gateway.framing import EVENTS, Framing, Lines, framing_for
from gateway.metadata import Metadata, response_headers
from gateway.resume import Resume
from gateway.settings import Limits
from gateway.transcoding.codec import CodecError
from gateway.transcoding.errors import ErrorAnswer, GatewayError, StatusRenderer, answer
from gateway.transcoding.rendering import OCTETS
from gateway.transcoding.transcoder import Endpoint

_UNBUFFERED: Final = (
    b"x-accel-buffering",
    b"no",
)  # nginx would hold items back until it has a buffer full of them


@dataclass(slots=True)
class StreamCall:
    """One call of a method that streams in either direction. `deadline` is a time of time.monotonic()."""

    exchange: Exchange
    endpoint: Endpoint
    backend: Backend
    metadata: Metadata
    timeout: float | None
    deadline: float | None
    resume: Resume | None = None

    def failed(self, error: grpc.aio.AioRpcError, statuses: StatusRenderer) -> ErrorAnswer:
        """The HTTP answer for the failure of this call."""
        return failures.to_http(error, self.backend, self.deadline, statuses)


class StreamAnswers:
    """Sends streams of answers; knows those that are open, so that all can be ended."""

    def __init__(self, limits: Limits, statuses: StatusRenderer) -> None:
        self._limits = limits
        self._statuses = statuses
        self._open: set[asyncio.Task[Any]] = set()

    def end_all(self) -> None:
        """End every open stream with a terminal item that says why; a stream has no end of its own to wait for."""
        for task in self._open:
            task.cancel()

    async def send(
        self, made: StreamCall, call: Any, feeding: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Answer with the stream of a call that has begun, and cancel it afterwards.

        `feeding` sends the requests of a two-way stream meanwhile. What it raises ends the stream; it watches the client itself.
        """
        task, exchange = asyncio.current_task(), made.exchange
        if task is not None:
            self._open.add(task)
        output = _Output(made, self._limits, call)
        feeder = _Feeder(feeding, call, exchange) if feeding is not None else None
        try:
            if feeder is not None or task is None:
                await self._pump(made, call, output)
            else:
                with exchange.watch(task.cancel):
                    await self._pump(made, call, output)
        except asyncio.CancelledError:
            if exchange.status == GONE:
                return
            error = feeder.error if feeder is not None else None
            if error is not None and not isinstance(error, GatewayError):
                raise error from None  # a defect of ours
            await output.fail(answer(error or failures.STOPPING))
        finally:
            call.cancel()
            if feeder is not None:
                feeder.stop()
            output.stop()
            if task is not None:
                self._open.discard(task)

    async def _pump(self, made: StreamCall, call: Any, output: "_Output") -> None:
        try:
            while (item := await call.read()) is not grpc.aio.EOF:
                await output.item(item)
        except grpc.aio.AioRpcError as error:
            if made.exchange.status != GONE:
                await output.fail(made.failed(error, self._statuses))
        except CodecError:
            await output.fail(answer(unprintable(made.endpoint.method)))
        else:
            await output.end()


class _Feeder:
    """The requests of a two-way stream, sent in a task of their own."""

    def __init__(self, feeding: Callable[[], Awaitable[None]], call: Any, exchange: Exchange) -> None:
        self.error: Exception | None = None
        self._call = call
        self._exchange = exchange
        loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = loop.create_task(
            self._run(feeding), name="gateway stream feed"
        )

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None  # as in _Output

    async def _run(self, feeding: Callable[[], Awaitable[None]]) -> None:
        try:
            await feeding()
        except ClientGoneError:
            self._exchange.status = GONE
        except Exception as error:  # whoever waits for answers raises it; nobody waits for this task
            self.error = error
        else:
            return
        self._call.cancel()


class _Output:
    """The answer of one stream: its headers once, then whole frames, and signs of life in a task of its own."""

    def __init__(self, made: StreamCall, limits: Limits, call: Any) -> None:
        self._exchange, self._renderer, self._call = made.exchange, made.endpoint.renderer, call
        self._raw = made.endpoint.renderer.raw
        accept = None if self._raw else made.exchange.headers.get(b"accept")
        self._framing: Framing = Lines() if self._raw else framing_for(accept)
        is_events = self._framing.content_type is EVENTS
        self._resume = made.resume if is_events else None
        self._open_after = limits.event_headers_seconds if is_events else limits.heartbeat_seconds
        self._pause = limits.heartbeat_seconds
        self._lock = asyncio.Lock()  # a heartbeat must not get into the middle of a terminal item
        self._opened = self._closed = False
        self._sent = 0
        self._task: asyncio.Task[None] | None = None
        if not self._raw:  # raw bytes have no room for signs of life
            self._task = asyncio.get_running_loop().create_task(self._live(), name="gateway stream heartbeat")

    def stop(self) -> None:
        """No more signs of life."""
        if self._task is not None:
            self._task.cancel()
            self._task = None  # its cancellation knows this object: a circle would wait for the collector

    async def item(self, wire: bytes) -> None:
        """Send one item, with the headers if it is the first. Raises CodecError."""
        if self._raw:
            content_type, frame = self._renderer.http_body(wire)
        else:
            content_type = self._framing.content_type
            resume_id = self._resume.id_of(wire) if self._resume is not None else ""
            frame = self._framing.item(self._renderer.json(wire), resume_id)
        async with self._lock:
            if not self._opened:
                await self._open(content_type, response_headers(await self._call.initial_metadata(), None))
            await self._piece(frame)

    async def fail(self, failed: ErrorAnswer) -> None:
        """End as failed: with an HTTP status while nothing was sent, else with a terminal item. Raw bytes stay incomplete."""
        async with self._lock:
            if not self._opened:
                self._opened = self._closed = True
                await self._exchange.respond_error(failed)
            elif not self._raw:
                await self._piece(self._framing.failure(failed.body), last=True)

    async def end(self) -> None:
        """End as complete."""
        async with self._lock:
            if not self._opened:
                headers = response_headers(await self._call.initial_metadata(), None)
                await self._open(OCTETS if self._raw else self._framing.content_type, headers)
            await self._piece(b"" if self._raw else self._framing.end(), last=True)

    async def _open(self, content_type: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self._opened = True
        await self._exchange.start(200, [(b"content-type", content_type), _UNBUFFERED, *headers])
        # The server keeps headers back until there is a piece of a body, though it be empty.
        await self._piece(b"" if self._raw else self._framing.begin())

    async def _piece(self, data: bytes, *, last: bool = False) -> None:
        self._sent += 1
        self._closed = last
        await self._exchange.piece(data, last=last)

    async def _live(self) -> None:
        """Send the headers when nothing else does for a while, then a heartbeat whenever nothing was sent since the last look."""
        await asyncio.sleep(self._open_after)
        async with self._lock:
            if not self._opened:
                await self._open(self._framing.content_type, [])
        while self._framing.heartbeat:
            seen = self._sent
            await asyncio.sleep(self._pause)
            async with self._lock:
                if seen == self._sent and not self._closed:
                    await self._piece(self._framing.heartbeat)
