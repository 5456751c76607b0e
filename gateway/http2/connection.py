"""One HTTP/2 connection that carries gRPC calls with one request message each.

Calls begin in the order they are made, as many at once as the peer allows; the others wait in a bounded line. What the peer's windows or
a full socket do not let through waits in the call and goes on when there is room, first come first served. Where unary calls go, windows of
our own are so wide that one whole answer always fits, so a slow reader here is only ever a large answer's limit. Streams of answers have a
connection of their own, with narrow windows that each reader opens (`gateway.http2.streamed`).

A call that is given up is reset; frames that still come for it are counted and dropped, which is safe because header blocks have no state.
"""

import asyncio
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import grpc

from gateway.http2 import wire
from gateway.http2.calls import PREFIX_BYTES, Attempt, UnaryCall
from gateway.http2.streamed import WINDOW_BYTES, StreamedCall

MAX_WAITING: Final = 10_000  # calls in line; whoever comes later is told that the service has too much to do
MAX_HEADER_BYTES: Final = 64 * 1024  # of one block, compressed or not
MAX_STREAMS: Final = (
    1000  # unary calls at once, unless the peer says how many it takes; streams are counted at the door
)
RECEIVE_WINDOW: Final = 64 * 1024 * 1024
KEEPALIVE_SECONDS: Final = (
    30.0  # without a byte while calls wait; servers of the mesh permit a ping every 10 s
)
KEEPALIVE_ANSWER_SECONDS: Final = 10.0
TOO_MANY_PINGS: Final = b"too_many_pings"  # what a server of gRPC says when it permits fewer (gRFC A8)
GOODBYE_SECONDS: Final = 1.0  # for the last bytes to leave
SWEEP_SECONDS: Final = 0.25
"""Between two looks for calls whose time is up."""

_NOT_CONNECTED: Final = "the connection to the service was lost"


class Connection(asyncio.Protocol):
    """Made by the loop's create_connection; `ready` is set once the peer's settings have come.

    `usable` says whether new calls may begin; `on_retired` is called once when it becomes false, though calls may still be running.
    """

    def __init__(
        self,
        answer_limit: int,
        on_retired: Callable[["Connection"], None],
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        *,
        streamed: bool = False,
    ) -> None:
        """`answer_limit`: largest message in bytes; `keepalive_seconds`: how long a peer may be silent while calls wait; `streamed`: whether
        the calls are answered by streams."""
        self.loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self.usable = False
        self.pings_are_too_many = False
        """Whether the peer ended the connection for its pings."""
        self._limit = answer_limit
        self._streamed = streamed
        self._on_retired = on_retired
        self._keepalive_seconds = keepalive_seconds
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._sweeping = False
        self._streams: dict[int, Attempt] = {}
        # With their header blocks; one leaves at no cost.
        self._line: OrderedDict[Attempt, bytes] = OrderedDict()
        self._unsent: dict[int, Attempt] = {}
        self._next = 1
        self._most = wire.LAST_STREAM if streamed else MAX_STREAMS
        self._window = wire.DEFAULT_WINDOW
        self._stream_window = wire.DEFAULT_WINDOW
        self._received = 0
        self._rest = b""
        self._block: tuple[int, bool, bytes] | None = (
            None  # a header block that goes on: stream, last, bytes so far
        )
        self._paused = False
        self._closed = False
        self._heard = False
        self._pinged = False
        self._timer: asyncio.TimerHandle | None = None

    # calls

    def call(self, block: bytes, message: bytes, timeout: float | None) -> UnaryCall:
        """Begin a unary call; `timeout` in seconds. The connection must be `usable`, and not `streamed`."""
        made = UnaryCall(self, self._stream_window, self._limit)
        self._enter(made, block, message, timeout)
        return made

    def stream(self, block: bytes, message: bytes, timeout: float | None) -> StreamedCall:
        """Begin a call that is answered by a stream. The connection must be `usable`, and `streamed`."""
        made = StreamedCall(self, self._stream_window, self._limit)
        self._enter(made, block, message, timeout)
        return made

    def _enter(self, made: Attempt, block: bytes, message: bytes, timeout: float | None) -> None:
        made.unsent = b"\0" + len(message).to_bytes(4, "big") + message
        if timeout is not None:
            made.expire_after(timeout)
            if not self._sweeping:
                self._sweeping = True
                self.loop.call_later(SWEEP_SECONDS, self._sweep)
        if len(self._streams) < self._most:
            self._begin(made, block)
        elif len(self._line) < MAX_WAITING:
            self._line[made] = block
        else:
            made.fail(grpc.StatusCode.UNAVAILABLE, "too many calls wait for the service", untouched=True)

    def allow(self, call: Attempt, size: int) -> None:
        """So many bytes more of this call may come."""
        if call.stream in self._streams:
            self._write(wire.window_update(call.stream, size))

    def abandon(self, call: Attempt) -> None:
        """Nobody waits for this call any more."""
        if call.stream:
            if self._streams.pop(call.stream, None) is not None:
                self._unsent.pop(call.stream, None)
                self._write(wire.reset(call.stream, wire.CANCEL))
                self._advance()
        else:
            self._line.pop(call, None)

    def close(self) -> None:
        """End the connection and every call on it."""
        if self._transport is not None and not self._closed:
            self._hang_up(wire.NO_ERROR)
        self._end(_NOT_CONNECTED)

    def drain(self) -> None:
        """Begin no more calls; close once those that run are over."""
        self._retire()
        if not self._streams and not self._line:
            self.close()

    def _retire(self) -> None:
        if self.usable:
            self.usable = False
            self._on_retired(self)

    def _begin(self, call: Attempt, block: bytes) -> None:
        stream = call.stream = self._next
        self._next += 2
        self._streams[stream] = call
        call.window = self._stream_window
        data = call.unsent
        size = len(data)
        if (
            size <= self._window
            and size <= call.window
            and size <= wire.MAX_FRAME_BYTES
            and not (self._paused or self._unsent)
        ):
            self._window -= size
            call.unsent = b""
            self._write(wire.headers(stream, block) + wire.frame(wire.DATA, wire.END_STREAM, stream, data))
        else:
            self._unsent[stream] = call
            self._write(wire.headers(stream, block))
            self._pump()
        if self._next > wire.LAST_STREAM:  # ids are used up: a new connection takes over
            self._retire()

    def _pump(self) -> None:
        """Send what the windows let through."""
        for stream, call in list(self._unsent.items()):
            while call.unsent and not self._paused:
                room = min(self._window, call.window, wire.MAX_FRAME_BYTES)
                if room <= 0:
                    break
                piece, call.unsent = call.unsent[:room], call.unsent[room:]
                self._window -= len(piece)
                call.window -= len(piece)
                last = 0 if call.unsent else wire.END_STREAM
                self._write(wire.frame(wire.DATA, last, stream, piece))
            if not call.unsent:
                del self._unsent[stream]

    def _advance(self) -> None:
        """A stream is over: the next in line begins; a connection that only waited for its calls closes."""
        while self._line and len(self._streams) < self._most:
            self._begin(*self._line.popitem(last=False))
        if not self.usable and not self._streams and not self._line and self.ready.done():
            self.close()

    def _sweep(self) -> None:
        """End the calls whose time is up; a timer for each call would cost as much as a tenth of it."""
        now = self.loop.time()
        calls = [*self._line, *self._streams.values()]  # none that is late takes the place of one that ends
        for call in calls:
            call.expire(now)
        self._sweeping = bool(calls) and not self._closed
        if self._sweeping:
            self.loop.call_later(SWEEP_SECONDS, self._sweep)

    def _write(self, data: bytes) -> None:
        """Send with whatever else this turn of the loop sends: one system call for all of it."""
        if not self._out:
            self.loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # create_connection makes a Transport
        whole = min(self._limit + PREFIX_BYTES + wire.MAX_FRAME_BYTES, wire.MAX_WINDOW)
        self._write(
            wire.PREFACE
            + wire.settings(
                (
                    (wire.HEADER_TABLE_SIZE, 0),
                    (wire.ENABLE_PUSH, 0),
                    (wire.INITIAL_WINDOW_SIZE, WINDOW_BYTES if self._streamed else whole),
                    (wire.MAX_HEADER_LIST_SIZE, MAX_HEADER_BYTES),
                )
            )
            + wire.window_update(0, RECEIVE_WINDOW - wire.DEFAULT_WINDOW)
        )
        self._timer = self.loop.call_later(self._keepalive_seconds, self._keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(_NOT_CONNECTED)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._rest:
            data = self._rest + data
        try:
            self._rest = self._frames(data)
        except (wire.WireError, struct.error, ValueError) as error:
            self._broken(error)

    def _frames(self, data: bytes) -> bytes:
        """Take every whole frame; what is left of `data`. Raises WireError."""
        at, end = 0, len(data)
        unpack = wire.FRAME_HEAD.unpack_from
        while end - at >= wire.HEAD_BYTES:
            high, low, kind, flags, stream = unpack(data, at)
            length = high << 8 | low
            if length > wire.MAX_FRAME_BYTES:
                raise wire.WireError(wire.FRAME_SIZE_ERROR, "a frame over the limit")
            stop = at + wire.HEAD_BYTES + length
            if stop > end:
                break
            self._frame(kind, flags, stream & 0x7FFF_FFFF, data[at + wire.HEAD_BYTES : stop])
            at = stop
        return data[at:] if at < end else b""

    # frames

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != wire.CONTINUATION:
            raise wire.WireError(wire.PROTOCOL_ERROR, "a header block was interrupted")
        if kind == wire.HEADERS:
            if flags & (wire.PADDED | wire.PRIORITISED):
                payload = wire.unpadded(payload, flags)
            last = bool(flags & wire.END_STREAM)
            if flags & wire.END_HEADERS:
                self._headers(stream, payload, last=last)
            else:
                self._block = (stream, last, payload)
        elif kind == wire.DATA:
            self._data(stream, flags, payload)
        else:
            handler = _HANDLERS.get(kind)
            if handler is not None:  # types that nobody knows are to be ignored (RFC 9113 section 4.1)
                handler(self, stream, flags, payload)

    def _headers(self, stream: int, block: bytes, *, last: bool) -> None:
        call = self._streams.get(stream)
        if call is None:
            if not stream % 2 or stream >= self._next:
                raise wire.WireError(wire.PROTOCOL_ERROR, "headers of a stream that nobody opened")
            return
        call.on_headers(wire.read_block(block, MAX_HEADER_BYTES), last=last)
        if last or call.is_over:
            self._finished(stream, reset=not last)

    def _data(self, stream: int, flags: int, payload: bytes) -> None:
        cost = len(payload)
        self._received += cost
        if self._received > RECEIVE_WINDOW // 2:
            self._write(wire.window_update(0, self._received))
            self._received = 0
        call = self._streams.get(stream)
        if call is None:
            if not stream % 2 or stream >= self._next:
                raise wire.WireError(wire.PROTOCOL_ERROR, "data of a stream that nobody opened")
            return
        if flags & wire.PADDED:
            payload = wire.unpadded(payload, flags & wire.PADDED)
        last = bool(flags & wire.END_STREAM)
        call.on_data(payload, cost, last=last)
        if last:
            self._finished(stream, reset=False)

    def _finished(self, stream: int, *, reset: bool) -> None:
        """The answer is complete; what was still to be sent has no reader any more."""
        if self._streams.pop(stream, None) is None:
            return
        if self._unsent.pop(stream, None) is not None or reset:
            self._write(wire.reset(stream, wire.CANCEL))
        if self._line or not self.usable:
            self._advance()

    def _continuation(self, stream: int, flags: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise wire.WireError(wire.PROTOCOL_ERROR, "CONTINUATION without headers")
        _, last, block = self._block
        block += payload
        if len(block) > MAX_HEADER_BYTES:
            raise wire.WireError(wire.ENHANCE_YOUR_CALM, "a header block over the limit")
        self._block = None if flags & wire.END_HEADERS else (stream, last, block)
        if self._block is None:
            self._headers(stream, block, last=last)

    def _settings(self, stream: int, flags: int, payload: bytes) -> None:
        if flags & wire.ACK:
            return
        for key, value in wire.read_settings(payload):
            if key == wire.MAX_CONCURRENT_STREAMS:
                self._most = value
            elif key == wire.INITIAL_WINDOW_SIZE:
                self._resize_windows(value)
        self._write(wire.frame(wire.SETTINGS, wire.ACK, 0))
        if not self.ready.done():
            self.usable = True
            self.ready.set_result(None)
        self._pump()
        self._advance()

    def _resize_windows(self, size: int) -> None:
        if size > wire.MAX_WINDOW:
            raise wire.WireError(wire.FLOW_CONTROL_ERROR, "a window over the limit")
        for call in self._streams.values():
            call.window += size - self._stream_window
        self._stream_window = size

    def _window_update(self, stream: int, flags: int, payload: bytes) -> None:
        (increment,) = struct.unpack(">L", payload)
        increment &= 0x7FFF_FFFF
        if not increment:
            raise wire.WireError(wire.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
        if not stream:
            self._window += increment
            if self._window > wire.MAX_WINDOW:
                raise wire.WireError(wire.FLOW_CONTROL_ERROR, "a window over the limit")
        elif (call := self._streams.get(stream)) is not None:
            call.window += increment
        if self._unsent:
            self._pump()

    def _reset(self, stream: int, flags: int, payload: bytes) -> None:
        (code,) = struct.unpack(">L", payload)
        call = self._streams.pop(stream, None)
        if call is not None:
            self._unsent.pop(stream, None)
            call.on_reset(code)
            self._advance()

    def _ping(self, stream: int, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise wire.WireError(wire.FRAME_SIZE_ERROR, "PING of a wrong length")
        if flags & wire.ACK:
            self._pinged = False
        else:
            self._write(wire.frame(wire.PING, wire.ACK, 0, payload))

    def _goaway(self, stream: int, flags: int, payload: bytes) -> None:
        last, code = struct.unpack(">LL", payload[:8])
        self.pings_are_too_many = code == wire.ENHANCE_YOUR_CALM and payload[8:] == TOO_MANY_PINGS
        self._retire()
        details = "the service closes the connection"
        for number in [number for number in self._streams if number > last & 0x7FFF_FFFF]:
            self._unsent.pop(number, None)
            self._streams.pop(number).fail(grpc.StatusCode.UNAVAILABLE, details, untouched=True)
        line, self._line = self._line, OrderedDict()
        for call in line:
            call.fail(grpc.StatusCode.UNAVAILABLE, details, untouched=True)
        self._advance()

    def _push(self, stream: int, flags: int, payload: bytes) -> None:
        raise wire.WireError(wire.PROTOCOL_ERROR, "PUSH_PROMISE, which was switched off")

    # the end

    def _hang_up(self, code: int) -> None:
        """Say goodbye and close; a peer that takes no bytes is left without it."""
        transport = self._transport
        if transport is not None:
            self._write(wire.goaway(code))
            self._flush()
            transport.close()
            self.loop.call_later(GOODBYE_SECONDS, transport.abort)

    def _broken(self, error: Exception) -> None:
        """The peer broke the protocol: nothing that comes from it has a meaning any more."""
        code = error.code if isinstance(error, wire.WireError) else wire.FRAME_SIZE_ERROR
        self._hang_up(code)
        self._end("the service does not speak HTTP/2 as it should")

    def _end(self, details: str) -> None:
        if self._closed:
            return
        self._closed = True
        self._retire()
        if self._timer is not None:
            self._timer.cancel()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(details))
            self.ready.exception()  # whoever waits for it sees it; nobody need
        streams, self._streams = self._streams, {}
        line, self._line = self._line, OrderedDict()
        self._unsent.clear()
        self._rest = b""
        for call in streams.values():
            call.fail(grpc.StatusCode.UNAVAILABLE, details)
        for call in line:
            call.fail(grpc.StatusCode.UNAVAILABLE, details, untouched=True)

    def _keep_alive(self) -> None:
        """Every while: a peer that says nothing while calls wait is asked, and left when it goes on saying nothing."""
        if self._pinged and not self._heard:
            if self._transport is not None:
                self._transport.abort()
            self._end("the service does not answer")
            return
        self._pinged = False
        pause = self._keepalive_seconds
        if self._streams and not self._heard:
            self._pinged = True
            self._write(wire.frame(wire.PING, 0, 0, b"vivesphr"))
            pause = min(self._keepalive_seconds, KEEPALIVE_ANSWER_SECONDS)
        self._heard = False
        self._timer = self.loop.call_later(pause, self._keep_alive)


_HANDLERS: Final = {
    wire.CONTINUATION: Connection._continuation,
    wire.SETTINGS: Connection._settings,
    wire.WINDOW_UPDATE: Connection._window_update,
    wire.RST_STREAM: Connection._reset,
    wire.PING: Connection._ping,
    wire.GOAWAY: Connection._goaway,
    wire.PUSH_PROMISE: Connection._push,
}
