"""Servers for the gateway's own HTTP/2: one of grpc, and one that speaks by hand, so that it can do what no good server does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from hpack import Decoder

from gateway.http2 import wire
from gateway.http2.channel import Channel, Target

OK = ((":status", "200"), ("content-type", "application/grpc"))
DONE = (("grpc-status", "0"),)


class PeerConnection:
    """One connection as the peer sees it; `frames` is all that came, in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.frames: list[tuple[int, int, int, bytes]] = []

    async def greet(self, settings: tuple[tuple[int, int], ...] = ()) -> None:
        """Read the preface and say what we allow."""
        assert await self._reader.readexactly(len(wire.PREFACE)) == wire.PREFACE
        self.send(wire.settings(settings))

    async def frame(self) -> tuple[int, int, int, bytes]:
        """The next frame."""
        high, low, kind, flags, stream = wire.FRAME_HEAD.unpack(
            await self._reader.readexactly(wire.HEAD_BYTES)
        )
        payload = await self._reader.readexactly(high << 8 | low)
        self.frames.append((kind, flags, stream, payload))
        return self.frames[-1]

    async def frame_of(self, *kinds: int) -> tuple[int, int, int, bytes]:
        """The next frame of these kinds; others are read over."""
        while True:
            found = await self.frame()
            if found[0] in kinds:
                return found

    async def request(self) -> tuple[int, dict[str, str], bytes]:
        """The next whole request of a client that sends one at a time: stream, headers, message."""
        _, _, stream, block = await self.frame_of(wire.HEADERS)
        headers = {str(name): str(value) for name, value in Decoder().decode(block)}
        message = b""
        while True:
            _, flags, _, payload = await self.frame_of(wire.DATA)
            message += payload
            if flags & wire.END_STREAM:
                return stream, headers, message[5:]

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def answer(self, stream: int, message: bytes = b"", trailers: tuple[tuple[str, Any], ...] = DONE) -> None:
        """A whole answer."""
        self.send(headers(stream, OK))
        data = b"\0" + len(message).to_bytes(4, "big") + message
        for at in range(0, len(data), wire.MAX_FRAME_BYTES):
            self.send(wire.frame(wire.DATA, 0, stream, data[at : at + wire.MAX_FRAME_BYTES]))
        self.send(headers(stream, trailers, last=True))

    async def close(self) -> None:
        self._writer.close()


def headers(stream: int, fields: tuple[tuple[str, Any], ...], *, last: bool = False) -> bytes:
    """A HEADERS frame."""
    block = b"".join(wire.literal(name, value) for name, value in fields)
    return wire.frame(wire.HEADERS, wire.END_HEADERS | (wire.END_STREAM if last else 0), stream, block)


class Peer:
    """Listens while entered; `behave` is run with every connection."""

    def __init__(self, behave: Callable[[PeerConnection], Awaitable[None]]) -> None:
        self._behave = behave
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: list[PeerConnection] = []
        self.port = 0

    async def __aenter__(self) -> "Peer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = PeerConnection(reader, writer)
        self.connections.append(connection)
        try:
            await self._behave(connection)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away, which is how most of these end
        finally:
            writer.close()


@asynccontextmanager
async def channel_to(
    port: int, limit: int, *, streamed: bool = False, **options: float
) -> AsyncIterator[Channel]:
    """A channel to a server of this machine."""
    channel = Channel(Target("127.0.0.1", port, limit, **options), streamed=streamed)  # type: ignore[arg-type]
    try:
        yield channel
    finally:
        await channel.close()


@asynccontextmanager
async def server_of(handler: grpc.RpcMethodHandler) -> AsyncIterator[int]:
    """A server of grpc's whose every method is this."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            return handler

    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def once(sent: bytes) -> Callable[[PeerConnection], Awaitable[None]]:
    """Answers the first call with these bytes, and the second one soundly."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet()
        await connection.request()
        connection.send(sent)
        stream, _, _ = await connection.request()
        connection.answer(stream, b"sound")
        await connection.frame_of(wire.GOAWAY)

    return behave
