"""Laws of streams of answers over the gateway's own HTTP/2: what a reader gets, what it holds back, and what is left of it when it goes."""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace

import grpc
import pytest

from gateway.http2 import wire
from gateway.http2.channel import Channel, Stream, Target
from gateway.http2.connection import TOO_MANY_PINGS
from gateway.http2.streamed import WINDOW_BYTES
from tests.integration.gateway.conftest import free_port
from tests.integration.gateway.peer import (
    DONE,
    OK,
    Peer,
    PeerConnection,
    channel_to,
    headers,
    once,
    server_of,
)

PATH = "/test.v1.Test/Watch"
LIMIT = 1024 * 1024
MORE_STREAMS_THAN_CALLS = 1_200
Script = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[None]]


async def read(stream: Stream) -> bytes:
    return await asyncio.wait_for(stream.read(), 30)


async def read_all(stream: Stream) -> list[bytes]:
    """Every message up to the end."""
    found = []
    while (message := await read(stream)) is not grpc.aio.EOF:
        found.append(message)
    return found


async def failure(stream: Stream) -> grpc.aio.AioRpcError:
    """How the stream fails at its next message."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(stream)
    return caught.value


def data(stream: int, message: bytes) -> bytes:
    """A message in DATA frames."""
    framed = b"\0" + len(message).to_bytes(4, "big") + message
    return b"".join(
        wire.frame(wire.DATA, 0, stream, framed[at : at + wire.MAX_FRAME_BYTES])
        for at in range(0, len(framed), wire.MAX_FRAME_BYTES)
    )


async def pinged(connection: PeerConnection) -> None:
    """Return once all is here that was sent before it knew of our last words."""
    connection.send(wire.frame(wire.PING, 0, 0, bytes(8)))
    while (await connection.frame_of(wire.PING))[1] != wire.ACK:
        pass


async def test_a_stream_carries_messages_metadata_and_deadline() -> None:
    """What grpc's own client does, seen from a server of grpc; an empty message is a message."""
    seen = {}

    async def script(request: bytes, context: grpc.aio.ServicerContext) -> None:
        seen.update(dict(context.invocation_metadata() or ()))
        seen["left"] = context.time_remaining()
        await context.send_initial_metadata((("x-init", "i"),))
        for message in (request, b"", request * 2):
            await context.write(message)
        context.set_trailing_metadata((("x-trail", "t"),))

    async with (
        server_of(grpc.unary_stream_rpc_method_handler(script)) as port,
        channel_to(port, LIMIT, streamed=True) as channel,
    ):
        stream = channel.stream(PATH, retryable=False)(b"ab", metadata=(("x-one", "1"),), timeout=20)
        assert dict(await stream.initial_metadata())["x-init"] == "i"
        assert await read_all(stream) == [b"ab", b"", b"abab"]
        assert await read(stream) is grpc.aio.EOF
        assert dict(await stream.trailing_metadata()) == {"x-trail": "t"}
    assert seen["x-one"] == "1"
    assert 10 < seen["left"] <= 21


async def test_messages_before_a_failure_are_read_before_it() -> None:
    """A reader that is behind loses nothing of what the service said."""

    async def script(request: bytes, context: grpc.aio.ServicerContext) -> None:
        for number in range(3):
            await context.write(b"%d" % number)
        await context.abort(grpc.StatusCode.DATA_LOSS, "gone: ü", (("x-more-bin", b"\0\1"),))

    async with (
        server_of(grpc.unary_stream_rpc_method_handler(script)) as port,
        channel_to(port, LIMIT, streamed=True) as channel,
    ):
        stream = channel.stream(PATH, retryable=True)(b"", timeout=20)
        await asyncio.wait_for(stream.trailing_metadata(), 30)  # all of it is here
        assert [await read(stream) for _ in range(3)] == [b"0", b"1", b"2"]
        for _ in range(2):
            error = await failure(stream)
            assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "gone: ü")
            assert ("x-more-bin", b"\0\1") in tuple(error.trailing_metadata())


async def test_messages_larger_than_the_window_pass_and_those_over_the_limit_do_not() -> None:
    """The window opens as far as the message that is waited for; the limit is ours, and costs that stream alone."""
    sizes = [10, WINDOW_BYTES - 5, WINDOW_BYTES, 5 * WINDOW_BYTES, LIMIT, 3]

    async def script(request: bytes, context: grpc.aio.ServicerContext) -> None:
        for size in sizes:
            await context.write(bytes(size))
        if request:
            await context.write(bytes(LIMIT + 1))

    async with (
        server_of(grpc.unary_stream_rpc_method_handler(script)) as port,
        channel_to(port, LIMIT, streamed=True) as channel,
    ):
        begin = channel.stream(PATH, retryable=False)
        streams = [begin(b"", timeout=60), begin(b"", timeout=60), begin(b"more", timeout=60)]
        for stream in streams:
            assert [len(await read(stream)) for _ in sizes] == sizes
        assert (await failure(streams[2])).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await read(streams[0]) is grpc.aio.EOF
        assert await read(streams[1]) is grpc.aio.EOF


async def test_a_reader_that_stops_holds_the_service_back() -> None:
    """What nobody reads is not asked for; once it is read, the service goes on, and another stream never waited."""
    message = bytes(1000)
    written = 0

    async def behave(connection: PeerConnection) -> None:
        nonlocal written
        await connection.greet()
        slow, _, _ = await connection.request()
        window = WINDOW_BYTES
        connection.send(headers(slow, OK))
        while window >= len(message) + 5:
            connection.send(data(slow, message))
            window -= len(message) + 5
            written += 1
        await pinged(connection)
        assert not [frame for frame in connection.frames if frame[0] == wire.WINDOW_UPDATE and frame[2]]
        quick, _, _ = await connection.request()
        connection.answer(quick, b"quick")
        _, _, stream, allowed = await connection.frame_of(wire.WINDOW_UPDATE)
        assert stream == slow
        (more,) = struct.unpack(">L", allowed)
        assert WINDOW_BYTES // 2 <= more <= WINDOW_BYTES
        for _ in range(more // (len(message) + 5)):
            connection.send(data(slow, message))
            written += 1
        connection.send(headers(slow, DONE, last=True))
        await connection.frame_of(wire.GOAWAY)

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT, streamed=True) as channel:
        begin = channel.stream(PATH, retryable=False)
        slow = begin(b"", timeout=60)
        assert await read(slow) == message  # and then no more for a while
        assert await read_all(begin(b"", timeout=60)) == [b"quick"]
        rest = await read_all(slow)
        assert rest == [message] * (written - 1)


async def test_whoever_sends_more_than_the_window_lets_through_is_left() -> None:
    """It would fill our memory; nothing that it says counts any more, and the next connection serves."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet()
        stream, _, _ = await connection.request()
        if len(peer.connections) > 1:
            connection.answer(stream, b"served")
        else:
            connection.send(headers(stream, OK))
            for _ in range(WINDOW_BYTES // 16_000 + 1):
                connection.send(wire.frame(wire.DATA, 0, stream, bytes(16_000)))
        await connection.frame_of(wire.GOAWAY)

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT, streamed=True) as channel:
        begin = channel.stream(PATH, retryable=False)
        stream = begin(b"", timeout=30)
        await asyncio.wait_for(stream.trailing_metadata(), 30)  # it is over, and nobody has read
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_all(stream)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await read_all(begin(b"", timeout=30)) == [b"served"]


@pytest.mark.parametrize("how", ["call", "task"])
async def test_a_stream_that_is_given_up_is_reset(how: str) -> None:
    """Whether the call is cancelled or the task that reads, the reader ends with CancelledError and the service is told."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet()
        stream, _, _ = await connection.request()
        connection.send(headers(stream, OK) + data(stream, b"first"))
        _, _, number, code = await connection.frame_of(wire.RST_STREAM)
        assert (number, code) == (stream, struct.pack(">L", wire.CANCEL))
        connection.send(data(stream, b"too late") + headers(stream, DONE, last=True))
        stream, _, _ = await connection.request()
        connection.answer(stream, b"next")
        await connection.frame_of(wire.GOAWAY)

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT, streamed=True) as channel:
        begin = channel.stream(PATH, retryable=True)
        stream = begin(b"", timeout=30)
        assert await read(stream) == b"first"
        reading = asyncio.ensure_future(stream.read())
        await asyncio.sleep(0)
        if how == "call":
            assert stream.cancel()
            assert not stream.cancel()
        else:
            reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        stream.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stream.read()
        assert await read_all(begin(b"", timeout=30)) == [b"next"]
    assert len(peer.connections) == 1


async def test_a_stream_is_given_up_while_there_is_no_service() -> None:
    """Before there is a connection, `cancel` ends the waiting and not the task that waits."""

    async def nowhere(host: str, port: int) -> list[tuple[str, int]]:
        await asyncio.sleep(60)
        return []

    channel = Channel(Target("nowhere", 1, LIMIT), nowhere, streamed=True)
    stream = channel.stream(PATH, retryable=True)(b"", timeout=60)

    async def wait() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await stream.read()
        return "went on"

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    assert stream.cancel()
    assert await asyncio.wait_for(waiting, 30) == "went on"
    with pytest.raises(asyncio.CancelledError):
        await stream.read()
    await channel.close()


async def test_a_service_that_is_away_is_said_at_once() -> None:
    """A stream does not wait in line for a service that is down."""
    async with channel_to(free_port(), LIMIT, streamed=True) as channel:
        error = await failure(channel.stream(PATH, retryable=True)(b"", timeout=300))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_deadline_ends_the_stream_after_what_came() -> None:
    """The service is told as well."""
    ended = asyncio.Event()

    async def script(request: bytes, context: grpc.aio.ServicerContext) -> None:
        await context.write(b"first")
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with (
        server_of(grpc.unary_stream_rpc_method_handler(script)) as port,
        channel_to(port, LIMIT, streamed=True) as channel,
    ):
        stream = channel.stream(PATH, retryable=True)(b"", timeout=0.3)
        assert await read(stream) == b"first"
        assert (await failure(stream)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(ended.wait(), 30)


@pytest.mark.parametrize("retryable", [True, False])
async def test_a_refused_stream_goes_again_and_one_that_has_begun_never(retryable: bool) -> None:
    """A refused one was not touched; of one that has begun the reader has had a part."""
    seen = 0

    async def behave(connection: PeerConnection) -> None:
        nonlocal seen
        await connection.greet()
        stream, _, _ = await connection.request()
        connection.send(wire.reset(stream, wire.REFUSED_STREAM))
        stream, _, _ = await connection.request()
        seen += 1
        connection.send(headers(stream, OK) + data(stream, b"begun"))
        await pinged(connection)  # and is gone

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT, streamed=True) as channel:
        stream = channel.stream(PATH, retryable=retryable)(b"", timeout=30)
        assert await read(stream) == b"begun"
        assert (await failure(stream)).code() is grpc.StatusCode.UNAVAILABLE
    assert seen == 1


@pytest.mark.parametrize(("retryable", "times"), [(True, 3), (False, 1)])
async def test_a_lost_stream_goes_again_where_the_contract_allows_it(retryable: bool, times: int) -> None:
    """Three attempts in all, then the failure has a name."""
    seen = []

    async def behave(connection: PeerConnection) -> None:
        await connection.greet()
        seen.append(await connection.request())

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT, streamed=True) as channel:
        error = await failure(channel.stream(PATH, retryable=retryable)(b"", timeout=30))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert len(seen) == times


async def test_a_service_that_complains_of_pings_gets_fewer() -> None:
    """Other servers than the mesh's permit one in five minutes, and would end every stream that is idle for longer."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet()
        await connection.request()
        await connection.frame_of(wire.PING)
        complaint = struct.pack(">LL", 0, wire.ENHANCE_YOUR_CALM) + TOO_MANY_PINGS
        connection.send(wire.frame(wire.GOAWAY, 0, 0, complaint))
        await connection.frame_of(wire.GOAWAY)

    target = Target("127.0.0.1", 0, LIMIT, keepalive_seconds=0.05)
    async with Peer(behave) as peer:
        channel = Channel(replace(target, port=peer.port), streamed=True)
        await failure(channel.stream(PATH, retryable=False)(b"", timeout=30))
        assert len(peer.connections) == 3  # as often as a call is tried that nobody has touched
        assert channel.keepalive_seconds == 0.4
        await channel.close()


BROKEN: dict[str, tuple[bytes, grpc.StatusCode]] = {
    "a compressed message": (headers(1, OK) + wire.frame(wire.DATA, 0, 1, b"\1\0\0\0\1x"), grpc.StatusCode.INTERNAL),
    "half a message": (headers(1, OK) + wire.frame(wire.DATA, 0, 1, b"\0\0\0\0\2x") + headers(1, DONE, last=True), grpc.StatusCode.INTERNAL),
    "half a prefix": (headers(1, OK) + wire.frame(wire.DATA, 0, 1, b"\0\0") + headers(1, DONE, last=True), grpc.StatusCode.INTERNAL),
    "a compressed message and the end": (headers(1, OK) + wire.frame(wire.DATA, 0, 1, b"\1\0\0\0\1x") + headers(1, DONE, last=True), grpc.StatusCode.INTERNAL),
    "no trailers": (headers(1, OK) + wire.frame(wire.DATA, wire.END_STREAM, 1, b""), grpc.StatusCode.INTERNAL),
    "no status": (headers(1, OK) + headers(1, (("x", "y"),), last=True), grpc.StatusCode.UNKNOWN),
    "a page": (headers(1, ((":status", "503"), ("content-type", "text/html"))), grpc.StatusCode.UNAVAILABLE),
    "a reset": (headers(1, OK) + wire.reset(1, wire.ENHANCE_YOUR_CALM), grpc.StatusCode.RESOURCE_EXHAUSTED),
    "a failure alone": (headers(1, (*OK, ("grpc-status", "5")), last=True), grpc.StatusCode.NOT_FOUND),
}  # fmt: skip


@pytest.mark.parametrize("answer", BROKEN)
async def test_a_broken_stream_costs_itself_alone(answer: str) -> None:
    """The connection is sound, so it goes on."""
    sent, code = BROKEN[answer]

    async with Peer(once(sent)) as peer, channel_to(peer.port, LIMIT, streamed=True) as channel:
        begin = channel.stream(PATH, retryable=False)
        assert (await failure(begin(b"", timeout=30))).code() is code
        assert await read_all(begin(b"", timeout=30)) == [b"sound"]
    assert len(peer.connections) == 1


async def test_more_streams_than_calls_share_a_connection() -> None:
    """Streams stay open for hours: what bounds calls that are over in a moment would shut the rest out."""
    last = asyncio.Event()

    async def script(request: bytes, context: grpc.aio.ServicerContext) -> None:
        await context.write(request)
        await last.wait()

    async with (
        server_of(grpc.unary_stream_rpc_method_handler(script)) as port,
        channel_to(port, LIMIT, streamed=True) as channel,
    ):
        begin = channel.stream(PATH, retryable=False)
        streams: list[Stream] = []
        # In portions: a server of grpc turns away a thousand that come at once.
        for at in range(0, MORE_STREAMS_THAN_CALLS, 100):
            begun = [begin(b"%d" % number, timeout=120) for number in range(at, at + 100)]
            assert await asyncio.gather(*map(read, begun)) == [b"%d" % n for n in range(at, at + 100)]
            streams += begun
        last.set()
        assert await asyncio.gather(*map(read, streams)) == [grpc.aio.EOF] * len(streams)
