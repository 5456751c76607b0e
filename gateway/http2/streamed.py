"""One attempt of a call that is answered by a stream: messages one at a time, as fast as they are read and no faster.

The peer may send WINDOW_BYTES ahead of the reader, or as much as the message that the reader waits for is long; what is read is allowed
again. So a reader that stops holds the service back, and the gateway holds no more than that for it.
"""

import asyncio
from typing import Any, Final

import grpc

from gateway.http2 import wire
from gateway.http2.calls import NOTHING, PREFIX_BYTES, AnswerTooLargeError, Attempt, Carrier

WINDOW_BYTES: Final = wire.DEFAULT_WINDOW
"""What a stream begins with: the connection's settings say so."""


class StreamedCall(Attempt):
    """Read it to its end or cancel it; one reader. Messages that came before a failure are read before it is raised."""

    __slots__ = ("_came", "_cancelled", "_error", "_left", "_news")

    def __init__(self, carrier: Carrier, window: int, limit: int) -> None:
        super().__init__(carrier, window, limit)
        self._came = bytearray()
        self._left = WINDOW_BYTES  # of the peer's window
        self._news = asyncio.Event()
        self._error: grpc.aio.AioRpcError | None = None
        self._cancelled = False

    async def begun(self) -> grpc.aio.AioRpcError | None:
        """Wait for the answer's headers; a failure that came instead of them."""
        while self._initial is None and not self._done:
            await self._change()
        return self._error if self._initial is None else None

    async def read(self) -> Any:
        """The next message, or grpc.aio.EOF. Raises AioRpcError, and CancelledError once cancel() was called."""
        while True:
            if self._cancelled:
                raise asyncio.CancelledError
            message = self._next()
            if message is not None:
                return message
            if self._done and self._error is None and self._came:
                self._refuse(grpc.StatusCode.INTERNAL, "the answer ends in the middle of a message")
            if self._error is not None:
                raise self._error
            if self._done:
                return grpc.aio.EOF
            await self._change()

    async def initial_metadata(self) -> wire.HeaderList:
        """What came before the answers; nothing if the call ended without it."""
        await self.begun()
        return self._initial or NOTHING

    async def trailing_metadata(self) -> wire.HeaderList:
        """What came behind the last answer; waits for it."""
        while not self._done:
            await self._change()
        return self._trailing

    def cancel(self) -> bool:
        self._cancelled = True
        if self._done:
            return False
        self._over()
        self._carrier.abandon(self)
        self._came.clear()
        self._news.set()
        return True

    # what the connection reports

    def on_headers(self, found: wire.HeaderList, *, last: bool) -> None:
        super().on_headers(found, last=last)
        self._news.set()

    def on_data(self, data: bytes, cost: int, *, last: bool) -> None:
        if self._initial is None:
            raise wire.WireError(wire.PROTOCOL_ERROR, "an answer's body before its headers")
        self._left -= cost
        if self._left < 0:
            raise wire.WireError(wire.FLOW_CONTROL_ERROR, "more than the window lets through")
        self._came += data
        if last:
            self.fail(grpc.StatusCode.INTERNAL, "the answer has no status")
        self._news.set()

    # inside

    def _next(self) -> bytes | None:
        """Take a whole message from what came; allow the peer to go on. None when there is none yet, or none any more."""
        came = self._came
        size = PREFIX_BYTES
        if len(came) >= PREFIX_BYTES:
            length = int.from_bytes(came[1:PREFIX_BYTES], "big")
            if came[0]:
                self._refuse(grpc.StatusCode.INTERNAL, "a message is compressed, which nobody asked for")
                return None
            if length > self._limit:
                details = f"a message is over the limit of {self._limit} bytes"
                self._refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, details, AnswerTooLargeError)
                return None
            size += length
        message = None
        if len(came) >= size:
            message = bytes(came[PREFIX_BYTES:size])
            del came[:size]
            size = 0
        if not self._done:
            self._allow(size)
        return message

    def _allow(self, wanted: int) -> None:
        """Let the peer send up to a window's worth more than what is unread, or as much as the message that is wanted takes."""
        most = len(self._came) + self._left
        more = max(WINDOW_BYTES, wanted) - most
        if more >= WINDOW_BYTES // 2 or most < wanted:
            self._left += more
            self._carrier.allow(self, more)

    def _refuse(
        self,
        code: grpc.StatusCode,
        details: str,
        kind: type[grpc.aio.AioRpcError] = grpc.aio.AioRpcError,
    ) -> None:
        """Give up a stream that cannot be read any further; it may have ended already."""
        self._came.clear()
        if not self._done:
            self._carrier.abandon(self)
            self.fail(code, details, kind=kind)
        else:
            self._error = kind(code, grpc.aio.Metadata(*(self._initial or ())), grpc.aio.Metadata(), details)

    def _deliver(self) -> None:
        if not self._done:
            self._over()
            self._news.set()

    def _lost(self, error: grpc.aio.AioRpcError) -> None:
        self._error = error
        self._news.set()

    async def _change(self) -> None:
        self._news.clear()
        await self._news.wait()
