"""Laws of the gateway's own HTTP/2: against a good server of grpc, and against servers that break, refuse, stall and lie."""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable

import grpc
import pytest

from gateway.http2 import wire
from gateway.http2.channel import Channel, Target
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

PATH = "/test.v1.Test/Call"
LIMIT = 4 * 1024 * 1024
Behave = Callable[[PeerConnection], Awaitable[None]]


async def failure(call: Awaitable[bytes]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, 30)
    return caught.value


async def test_a_call_carries_message_metadata_and_deadline_both_ways() -> None:
    """What grpc's own client does, seen from a server of grpc."""
    seen = {}

    async def behave(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        seen.update(dict(context.invocation_metadata() or ()))
        seen["left"] = context.time_remaining()
        await context.send_initial_metadata((("x-init", "i"), ("x-bytes-bin", b"\0\xff")))
        context.set_trailing_metadata((("x-trail", "t"),))
        return request * 2

    async with (
        server_of(grpc.unary_unary_rpc_method_handler(behave)) as port,
        channel_to(port, LIMIT) as channel,
    ):
        call = channel.unary(PATH, retryable=False)(
            b"ab", metadata=(("x-one", "1"), ("x-raw-bin", b"\1\2\3"), ("x-long", "v" * 3000)), timeout=20
        )
        assert await call == b"abab"
        assert {**dict(await call.initial_metadata())}.items() >= {
            "x-init": "i",
            "x-bytes-bin": b"\0\xff",
        }.items()
        assert dict(await call.trailing_metadata()) == {"x-trail": "t"}
    assert (seen["x-one"], seen["x-raw-bin"], seen["x-long"]) == ("1", b"\1\2\3", "v" * 3000)
    assert 10 < seen["left"] <= 21


async def test_a_failure_keeps_code_words_and_details() -> None:
    """The words may be of any script; the details are bytes."""

    async def behave(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such 100% thing: ü\n", (("x-more-bin", b"\0\1"),))
        raise AssertionError

    async with (
        server_of(grpc.unary_unary_rpc_method_handler(behave)) as port,
        channel_to(port, LIMIT) as channel,
    ):
        error = await failure(channel.unary(PATH, retryable=True)(b"", timeout=20))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such 100% thing: ü\n")
    assert ("x-more-bin", b"\0\1") in tuple(error.trailing_metadata())


async def test_large_messages_pass_and_larger_ones_are_refused() -> None:
    """Windows are a matter of both sides; the limit is ours."""

    async def behave(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return request if len(request) > 100 else bytes(int(request))

    async with (
        server_of(grpc.unary_unary_rpc_method_handler(behave)) as port,
        channel_to(port, LIMIT) as channel,
    ):
        call = channel.unary(PATH, retryable=False)
        big = bytes(range(256)) * 12_000
        answers = await asyncio.gather(*(call(big, timeout=30) for _ in range(4)), call(b"7", timeout=30))
        assert answers == [big] * 4 + [bytes(7)]
        error = await failure(call(str(LIMIT + 1).encode(), timeout=30))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call(b"3", timeout=30) == bytes(3)


async def test_a_thousand_calls_share_one_connection() -> None:
    """Each gets its own answer."""

    async def behave(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(0)
        return request

    async with (
        server_of(grpc.unary_unary_rpc_method_handler(behave)) as port,
        channel_to(port, LIMIT) as channel,
    ):
        call = channel.unary(PATH, retryable=False)
        sent = [str(number).encode() for number in range(1000)]
        assert await asyncio.gather(*(call(one, timeout=30) for one in sent)) == sent


async def test_a_deadline_ends_the_call_on_both_sides() -> None:
    """The service is told, by its own deadline and by a reset."""
    cancelled = asyncio.Event()

    async def behave(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    async with (
        server_of(grpc.unary_unary_rpc_method_handler(behave)) as port,
        channel_to(port, LIMIT) as channel,
    ):
        error = await failure(channel.unary(PATH, retryable=True)(b"", timeout=0.1))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(cancelled.wait(), 30)


@pytest.mark.parametrize("how", ["call", "task"])
async def test_a_call_that_is_given_up_is_reset(how: str) -> None:
    """Whether the call is cancelled or the task that awaits it."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet()
        await connection.request()
        await connection.frame_of(wire.RST_STREAM)
        stream, _, _ = await connection.request()
        connection.answer(stream, b"next")
        await connection.frame_of(wire.GOAWAY)

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT) as channel:
        unary = channel.unary(PATH, retryable=True)
        call = unary(b"x", timeout=30)

        async def wait() -> bytes:
            return await call

        task = asyncio.create_task(wait())
        while not (peer.connections and any(frame[0] == wire.DATA for frame in peer.connections[0].frames)):
            await asyncio.sleep(0.01)
        (call if how == "call" else task).cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await unary(b"y", timeout=30) == b"next"
    assert len(peer.connections) == 1


async def test_a_narrow_window_delays_and_loses_nothing() -> None:
    """A peer that takes ten bytes at a time gets all of them, and a small call is not stuck for ever behind a large one."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet(((wire.INITIAL_WINDOW_SIZE, 10),))
        received: dict[int, bytes] = {}
        answered = 0
        while answered < 2:
            kind, flags, stream, payload = await connection.frame_of(wire.HEADERS, wire.DATA)
            if kind == wire.HEADERS:
                continue
            assert len(payload) <= 10
            received[stream] = received.get(stream, b"") + payload
            if flags & wire.END_STREAM:
                connection.answer(stream, received[stream][5:])
                answered += 1
            else:
                connection.send(
                    wire.window_update(stream, len(payload)) + wire.window_update(0, len(payload))
                )

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT) as channel:
        call = channel.unary(PATH, retryable=False)
        sent = [bytes(range(200)), b"small"]
        assert await asyncio.wait_for(asyncio.gather(*(call(one, timeout=30) for one in sent)), 30) == sent


async def test_windows_follow_settings_that_change() -> None:
    """A window may be taken back below nothing and given again (RFC 9113 section 6.9.2)."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet(((wire.INITIAL_WINDOW_SIZE, 20),))
        await connection.frame_of(wire.HEADERS)
        _, _, stream, first = await connection.frame_of(wire.DATA)
        connection.send(wire.settings(((wire.INITIAL_WINDOW_SIZE, 5),)))
        connection.send(wire.settings(((wire.INITIAL_WINDOW_SIZE, 1000),)))
        message = first
        while len(message) < 105:
            message += (await connection.frame_of(wire.DATA))[3]
        connection.answer(stream, message[5:])
        await connection.frame_of(wire.GOAWAY)

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT) as channel:
        assert await channel.unary(PATH, retryable=False)(bytes(100), timeout=30) == bytes(100)


async def test_no_more_streams_than_the_peer_takes() -> None:
    """The others wait in line and are served in turn."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet(((wire.MAX_CONCURRENT_STREAMS, 2),))
        for answered in range(0, 10, 2):
            streams = [(await connection.request())[0] for _ in range(2)]
            connection.send(wire.frame(wire.PING, 0, 0, bytes(8)))
            await connection.frame_of(wire.PING)  # whatever was sent before we asked is here now
            begun = sum(kind == wire.HEADERS for kind, *_ in connection.frames)
            for stream in streams:
                connection.answer(stream, str(begun - answered).encode())

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT) as channel:
        call = channel.unary(PATH, retryable=False)
        assert await asyncio.gather(*(call(b"", timeout=30) for _ in range(10))) == [b"2"] * 10


async def test_a_connection_that_goes_away_is_followed_and_nothing_is_done_twice() -> None:
    """GOAWAY: what the peer has begun ends there; what it has not seen goes to the next connection, though it may not be repeated."""
    seen: list[tuple[int, bytes]] = []

    async def behave(connection: PeerConnection) -> None:
        number = len(peer.connections)
        await connection.greet()
        stream, _, message = await connection.request()
        seen.append((number, message))
        if number == 1:
            await connection.request()  # not seen, as far as the peer's word goes
            connection.send(wire.frame(wire.GOAWAY, 0, 0, struct.pack(">LL", stream, 0)))
            await asyncio.sleep(0.05)
        connection.answer(stream, message)
        with contextlib.suppress(asyncio.IncompleteReadError):
            await connection.frame_of(wire.GOAWAY)

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT) as channel:
        call = channel.unary(PATH, retryable=False)
        first = asyncio.ensure_future(call(b"first", timeout=30))
        while not seen:
            await asyncio.sleep(0.01)
        assert await asyncio.gather(first, call(b"second", timeout=30)) == [b"first", b"second"]
    assert seen == [(1, b"first"), (2, b"second")]


@pytest.mark.parametrize("retryable", [True, False])
async def test_a_refused_stream_goes_again(retryable: bool) -> None:
    """REFUSED_STREAM says that nothing was done (RFC 9113 section 8.7)."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet()
        stream, _, _ = await connection.request()
        connection.send(wire.reset(stream, wire.REFUSED_STREAM))
        stream, _, _ = await connection.request()
        connection.answer(stream, b"done")
        await connection.frame_of(wire.GOAWAY)

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT) as channel:
        assert await channel.unary(PATH, retryable=retryable)(b"", timeout=30) == b"done"


@pytest.mark.parametrize(("retryable", "times"), [(True, 3), (False, 1)])
async def test_a_lost_connection_fails_by_name_and_only_what_may_be_repeated_is(
    retryable: bool, times: int
) -> None:
    """A call whose answer was lost may have been carried out: asking again is the contract's to allow."""
    seen = []

    async def behave(connection: PeerConnection) -> None:
        await connection.greet()
        seen.append(await connection.request())

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT) as channel:
        error = await failure(channel.unary(PATH, retryable=retryable)(b"once", timeout=30))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert str(peer.port) not in str(error.details())
    assert len(seen) == times


async def test_a_peer_that_is_away_is_said_at_once_and_found_when_it_comes() -> None:
    """Calls do not wait in line for a service that is down."""
    port = free_port()

    async def behave(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return b"here"

    async with channel_to(port, LIMIT) as channel:
        call = channel.unary(PATH, retryable=True)
        for _ in range(3):
            assert (await failure(call(b"", timeout=300))).code() is grpc.StatusCode.UNAVAILABLE
        assert not channel.is_connected

        class Handler(grpc.GenericRpcHandler):
            def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
                return grpc.unary_unary_rpc_method_handler(behave)

        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Handler(),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        async with asyncio.timeout(30):
            while not channel.is_connected:
                await asyncio.sleep(0.01)
        assert await call(b"", timeout=30) == b"here"
        await server.stop(0)


async def test_addresses_take_turns_and_one_that_dies_is_left_out() -> None:
    """Every replica has its share."""
    served: list[int] = []

    def behave(number: int) -> Behave:
        async def serve(connection: PeerConnection) -> None:
            await connection.greet()
            while True:
                stream, _, _ = await connection.request()
                served.append(number)
                connection.answer(stream, b"")

        return serve

    async with Peer(behave(2)) as two:
        async with Peer(behave(1)) as one:

            async def look_up(host: str, port: int) -> list[tuple[str, int]]:
                return [("127.0.0.1", one.port), ("127.0.0.1", two.port)]

            channel = Channel(Target("replicas", 1, LIMIT), look_up)
            call = channel.unary(PATH, retryable=True)
            for _ in range(6):
                await call(b"", timeout=30)
            assert sorted(served) == [1, 1, 1, 2, 2, 2]
        served.clear()
        for _ in range(6):
            await call(b"", timeout=30)
        assert served.count(2) >= 6
        await channel.close()


async def test_a_peer_that_falls_silent_is_left() -> None:
    """A connection through something that drops packets looks alive for a quarter of an hour otherwise."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet()
        await connection.frame_of(wire.PING)
        await asyncio.sleep(60)

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT, keepalive_seconds=0.1) as channel:
        error = await failure(channel.unary(PATH, retryable=False)(b"", timeout=60))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "the service does not answer")


VIOLATIONS: dict[str, bytes] = {
    "a frame over the limit": wire.FRAME_HEAD.pack(0x40, 1, wire.DATA, 0, 1),
    "a pushed stream": wire.frame(wire.PUSH_PROMISE, wire.END_HEADERS, 1, bytes(4)),
    "headers that nobody asked for": headers(99, OK),
    "data that nobody asked for": wire.frame(wire.DATA, 0, 98, b"x"),
    "an interrupted header block": wire.frame(wire.HEADERS, 0, 1, b"\x88")
    + wire.frame(wire.PING, 0, 0, bytes(8)),
    "a continuation of nothing": wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, b"\x88"),
    "an endless header block": wire.frame(wire.HEADERS, 0, 1, bytes(16_000))
    + b"".join(wire.frame(wire.CONTINUATION, 0, 1, bytes(16_000)) for _ in range(5)),
    "an unreadable header block": wire.frame(wire.HEADERS, wire.END_HEADERS, 1, b"\xff\xff\xff\xff\xff"),
    "a header table": wire.frame(wire.HEADERS, wire.END_HEADERS, 1, b"\xbe"),
    "a window that overflows": wire.window_update(0, 2**31 - 1),
    "a window of nothing": wire.window_update(0, 0),
    "settings of a wrong length": wire.frame(wire.SETTINGS, 0, 0, bytes(5)),
    "a stream window over the limit": wire.settings(((wire.INITIAL_WINDOW_SIZE, 2**31),)),
    "a ping of a wrong length": wire.frame(wire.PING, 0, 0, bytes(7)),
    "a reset of a wrong length": wire.frame(wire.RST_STREAM, 0, 1, bytes(3)),
    "a goodbye of a wrong length": wire.frame(wire.GOAWAY, 0, 0, bytes(7)),
    "padding longer than its frame": wire.frame(wire.DATA, wire.PADDED, 1, b"\xffx"),
    "a body before its headers": wire.frame(wire.DATA, 0, 1, b"x"),
    "headers in the middle": headers(1, OK) + headers(1, OK),
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_whoever_breaks_the_protocol_is_left_and_the_next_connection_serves(violation: str) -> None:
    """Nothing that comes after it has a meaning; the call fails by name, and others are not harmed."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet()
        stream, _, _ = await connection.request()
        if len(peer.connections) == 1:
            connection.send(VIOLATIONS[violation])
            await connection.frame_of(wire.GOAWAY)
        else:
            connection.answer(stream, b"served")

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT) as channel:
        call = channel.unary(PATH, retryable=False)
        error = await failure(call(b"", timeout=30))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error.details() == "the service does not speak HTTP/2 as it should"
        assert await call(b"", timeout=30) == b"served"


MESSAGE = wire.frame(wire.DATA, 0, 1, b"\0\0\0\0\1x")
ANSWERS: dict[str, tuple[bytes, grpc.StatusCode]] = {
    "a page": (
        headers(1, ((":status", "404"), ("content-type", "text/html")), last=True),
        grpc.StatusCode.UNIMPLEMENTED,
    ),
    "a page that goes on": (headers(1, ((":status", "502"),)) + MESSAGE, grpc.StatusCode.UNAVAILABLE),
    "no status": (headers(1, OK) + MESSAGE + headers(1, (("x", "y"),), last=True), grpc.StatusCode.UNKNOWN),
    "an unknown status": (headers(1, (*OK, ("grpc-status", "77")), last=True), grpc.StatusCode.UNKNOWN),
    "a body that just ends": (
        headers(1, OK) + wire.frame(wire.DATA, wire.END_STREAM, 1, b"\0\0\0\0\0"),
        grpc.StatusCode.INTERNAL,
    ),
    "no message": (headers(1, OK) + headers(1, DONE, last=True), grpc.StatusCode.INTERNAL),
    "two messages": (
        headers(1, OK) + MESSAGE + MESSAGE + headers(1, DONE, last=True),
        grpc.StatusCode.INTERNAL,
    ),
    "a compressed message": (
        headers(1, OK) + wire.frame(wire.DATA, 0, 1, b"\1\0\0\0\1x") + headers(1, DONE, last=True),
        grpc.StatusCode.INTERNAL,
    ),
    "half a message": (
        headers(1, OK) + wire.frame(wire.DATA, 0, 1, b"\0\0\0\0\2x") + headers(1, DONE, last=True),
        grpc.StatusCode.INTERNAL,
    ),
    "a reset": (wire.reset(1, 2), grpc.StatusCode.INTERNAL),
    "a reset of one that had enough": (
        wire.reset(1, wire.ENHANCE_YOUR_CALM),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_broken_answer_costs_its_call_alone(answer: str) -> None:
    """The connection is sound, so it goes on."""
    data, code = ANSWERS[answer]

    async with Peer(once(data)) as peer, channel_to(peer.port, LIMIT) as channel:
        call = channel.unary(PATH, retryable=False)
        assert (await failure(call(b"", timeout=30))).code() is code
        assert await call(b"", timeout=30) == b"sound"
    assert len(peer.connections) == 1


async def test_what_is_allowed_and_rare_is_understood() -> None:
    """Padding, priorities, continued header blocks, unknown frames, interim answers, pings: none of them disturbs an answer."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet()
        stream, _, _ = await connection.request()
        connection.send(
            wire.frame(99, 0xFF, stream, b"what is this") + wire.frame(wire.PRIORITY, 0, stream, bytes(5))
        )
        connection.send(wire.frame(wire.PING, 0, 0, b"12345678"))
        connection.send(headers(stream, ((":status", "103"), ("link", "x"))))
        block = b"".join(wire.literal(*field) for field in OK)
        flags = wire.PADDED | wire.PRIORITISED
        connection.send(wire.frame(wire.HEADERS, flags, stream, b"\3" + bytes(5) + block[:4] + bytes(3)))
        connection.send(wire.frame(wire.CONTINUATION, 0, stream, block[4:9]))
        connection.send(wire.frame(wire.CONTINUATION, wire.END_HEADERS, stream, block[9:]))
        connection.send(wire.frame(wire.DATA, wire.PADDED, stream, b"\4\0\0\0\0\2o" + bytes(4)))
        connection.send(wire.frame(wire.DATA, 0, stream, b"k"))
        connection.send(headers(stream, (("grpc-message", ""), *DONE), last=True))
        assert (await connection.frame_of(wire.PING))[1:] == (wire.ACK, 0, b"12345678")

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT) as channel:
        assert await channel.unary(PATH, retryable=False)(b"", timeout=30) == b"ok"


async def test_an_answer_before_the_request_is_whole_is_the_answer() -> None:
    """A service that has seen enough need not read on."""

    async def behave(connection: PeerConnection) -> None:
        await connection.greet(((wire.INITIAL_WINDOW_SIZE, 10),))
        _, _, stream, _ = await connection.frame_of(wire.HEADERS)
        connection.send(headers(stream, (*OK, ("grpc-status", "9"), ("grpc-message", "enough")), last=True))
        assert (await connection.frame_of(wire.RST_STREAM))[2] == stream

    async with Peer(behave) as peer, channel_to(peer.port, LIMIT) as channel:
        error = await failure(channel.unary(PATH, retryable=False)(bytes(1000), timeout=30))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "enough")
