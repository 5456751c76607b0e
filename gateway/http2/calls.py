"""One attempt of a call: what is sent, what came back, and what its failure is called.

It looks as grpc.aio's call does where the gateway looks: await a unary one for the answer's bytes or an AioRpcError, then ask for its
metadata. (One that is answered by a stream is in `gateway.http2.answers`.) How HTTP/2 and HTTP tell failures, and what gRPC calls them, is
in the tables of gRPC over HTTP/2 and of its status codes.
"""

import asyncio
from collections.abc import Generator
from typing import Any, Final, Protocol
from urllib.parse import unquote

import grpc

from gateway.http2 import wire

EXACT_BELOW_SECONDS: Final = 5.0  # deadlines further away may be kept a quarter of a second late
PREFIX_BYTES: Final = 5  # compressed flag and length before each message
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_OF_HTTP: Final = {
    400: grpc.StatusCode.INTERNAL, 401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED, 429: grpc.StatusCode.UNAVAILABLE, 502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE, 504: grpc.StatusCode.UNAVAILABLE,
}  # fmt: skip
_OF_RESET: Final = {
    wire.REFUSED_STREAM: grpc.StatusCode.UNAVAILABLE, wire.CANCEL: grpc.StatusCode.CANCELLED,
    wire.ENHANCE_YOUR_CALM: grpc.StatusCode.RESOURCE_EXHAUSTED, wire.INADEQUATE_SECURITY: grpc.StatusCode.PERMISSION_DENIED,
}  # fmt: skip
_FINE: Final = ((("grpc-status", "0"),), (("grpc-status", "0"), ("grpc-message", "")))
"""Trailers of most calls that go well: Go's and C's."""
NOTHING: Final[wire.HeaderList] = ()


class AnswerTooLargeError(grpc.aio.AioRpcError):
    """The service answered more than the gateway takes; no fault of the client's."""


class Carrier(Protocol):
    """What a call asks of the connection that carries it."""

    loop: asyncio.AbstractEventLoop

    def abandon(self, call: "Attempt") -> None:
        """Tell the peer that nobody waits for this call any more."""

    def allow(self, call: "Attempt", size: int) -> None:
        """Tell the peer that so many bytes more of this call may come."""


class Attempt:
    """What all calls have in common; made by the connection that carries it. `untouched` once the peer says that it did not process it."""

    __slots__ = (
        "_carrier", "_deadline", "_done", "_initial", "_limit", "_timer", "_trailing", "stream", "unsent", "untouched", "window",
    )  # fmt: skip

    def __init__(self, carrier: Carrier, window: int, limit: int) -> None:
        """`limit` is the largest message in bytes; `window` what the peer will take of this stream at first."""
        self._carrier = carrier
        self._initial: wire.HeaderList | None = None
        self._trailing: wire.HeaderList = NOTHING
        self._limit = limit
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._done = False
        self.stream = 0
        self.window = window
        self.unsent = b""
        self.untouched = False

    def expire_after(self, seconds: float) -> None:
        """Fail with DEADLINE_EXCEEDED unless it is over by then: to the moment if that is soon, else when `expire` is called after it."""
        loop = self._carrier.loop
        self._deadline = loop.time() + seconds
        if seconds < EXACT_BELOW_SECONDS:
            self._timer = loop.call_later(seconds, self._expire)

    def expire(self, now: float) -> None:
        """Fail if the deadline has passed; `now` is the loop's time."""
        if self._deadline is not None and now >= self._deadline:
            self._expire()

    @property
    def is_over(self) -> bool:
        """Whether it has its answer or failed."""
        return self._done

    def cancel(self) -> bool:
        """Give the call up; whoever waits for it gets CancelledError. False when it was over already."""
        raise NotImplementedError

    async def initial_metadata(self) -> wire.HeaderList:
        """What came before the answer."""
        raise NotImplementedError

    async def trailing_metadata(self) -> wire.HeaderList:
        """What came behind the answer."""
        raise NotImplementedError

    # what the connection reports

    def on_headers(self, found: wire.HeaderList, *, last: bool) -> None:
        """A header block: the first is the answer's beginning, unless it is `last` and all there is."""
        if self._initial is None:
            status = found[0][1] if found and found[0][0] == ":status" else ""
            if status != "200":
                if str(status).startswith("1") and not last:  # an interim answer
                    return
                http = int(status) if isinstance(status, str) and status.isdecimal() else 0
                if not any(name == "grpc-status" for name, _ in found):
                    self.fail(
                        _OF_HTTP.get(http, grpc.StatusCode.UNKNOWN), f"HTTP status {http} from the service"
                    )
                    return
            if not last:
                self._initial = found[1:]
                return
            found = found[1:]
        elif not last:
            raise wire.WireError(wire.PROTOCOL_ERROR, "headers in the middle of an answer")
        self._finish(found)

    def on_data(self, data: bytes, cost: int, *, last: bool) -> None:
        """A piece of the answer, which took `cost` bytes of the window that the peer has."""
        raise NotImplementedError

    def on_reset(self, code: int) -> None:
        """The peer ended the stream."""
        self.untouched = code == wire.REFUSED_STREAM
        self.fail(
            _OF_RESET.get(code, grpc.StatusCode.INTERNAL),
            f"the service reset the call with HTTP/2 error {code}",
        )

    def fail(
        self,
        code: grpc.StatusCode,
        details: str,
        *,
        untouched: bool = False,
        kind: type[grpc.aio.AioRpcError] = grpc.aio.AioRpcError,
    ) -> None:
        """End the call with a failure that is no answer of the service's own."""
        self.untouched = self.untouched or untouched
        if not self._done:
            self._over()
            initial, trailing = grpc.aio.Metadata(*(self._initial or ())), grpc.aio.Metadata(*self._trailing)
            self._lost(kind(code, initial, trailing, details))

    def _finish(self, trailers: wire.HeaderList) -> None:
        """The status is here, and with it the end."""
        if trailers in _FINE:
            self._deliver()
            return
        code, details = None, ""
        kept = []
        for name, value in trailers:
            if name == "grpc-status":
                code = _CODES.get(int(value), grpc.StatusCode.UNKNOWN) if str(value).isdecimal() else None
            elif name == "grpc-message":
                details = unquote(str(value), errors="replace")
            else:
                kept.append((name, value))
        self._trailing = tuple(kept)
        if code is not grpc.StatusCode.OK:
            missing = code is None
            code = grpc.StatusCode.UNKNOWN if code is None else code
            self.fail(code, "the answer has no status" if missing else details)
            return
        self._deliver()

    def _deliver(self) -> None:
        """The status is OK."""
        raise NotImplementedError

    def _lost(self, error: grpc.aio.AioRpcError) -> None:
        """The call has failed so."""
        raise NotImplementedError

    def _expire(self) -> None:
        if not self._done:
            self._carrier.abandon(self)
            self.fail(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _over(self) -> None:
        self._done = True
        if self._timer is not None:
            self._timer.cancel()


class UnaryCall(Attempt):
    """A call with one answer, which fits the window whole."""

    __slots__ = ("_body", "_future")

    def __init__(self, carrier: Carrier, window: int, limit: int) -> None:
        super().__init__(carrier, window, limit)
        self._future: asyncio.Future[bytes] = carrier.loop.create_future()
        self._body: bytes | bytearray = b""

    def __await__(self) -> Generator[Any, None, bytes]:
        try:
            return (yield from self._future.__await__())
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> bool:
        if self._done:
            return False
        self._over()
        self._carrier.abandon(self)
        self._future.cancel()
        return True

    async def initial_metadata(self) -> wire.HeaderList:
        """What came before the answer of a call that is over."""
        return self._initial or NOTHING

    async def trailing_metadata(self) -> wire.HeaderList:
        """What came behind the answer of a call that is over."""
        return self._trailing

    def on_data(self, data: bytes, cost: int, *, last: bool) -> None:
        if self._initial is None:
            raise wire.WireError(wire.PROTOCOL_ERROR, "an answer's body before its headers")
        if self._body:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        else:
            self._body = data
        if len(self._body) > self._limit + PREFIX_BYTES:
            self._carrier.abandon(self)
            details = f"the answer is over the limit of {self._limit} bytes"
            self.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, details, kind=AnswerTooLargeError)
        elif last:
            self.fail(grpc.StatusCode.INTERNAL, "the answer has no status")

    def _deliver(self) -> None:
        body = self._body
        length = len(body) - PREFIX_BYTES
        if length < 0 or body[0] or int.from_bytes(body[1:5], "big") != length:
            self.fail(grpc.StatusCode.INTERNAL, "the answer is not one uncompressed message")
            return
        if not self._done:
            self._over()
            if not self._future.done():
                self._future.set_result(bytes(body[PREFIX_BYTES:]))

    def _lost(self, error: grpc.aio.AioRpcError) -> None:
        if not self._future.done():
            self._future.set_exception(error)
