"""What a connection makes of bytes does not depend on how they are cut."""

import asyncio
import itertools
from collections.abc import Iterator

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http2 import wire
from gateway.http2.channel import Target, parse_target
from gateway.http2.connection import Connection
from gateway.http2.streamed import StreamedCall

OK = ((":status", "200"), ("content-type", "application/grpc"))
FINE = ("grpc-status", "0")


class Transport(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        return

    def abort(self) -> None:
        return


def block(*fields: tuple[str, str]) -> bytes:
    return b"".join(wire.literal(*field) for field in fields)


def answer(stream: int, messages: list[bytes], padding: int, pieces: int) -> bytes:
    """A whole answer, its messages in so many padded frames."""
    data = b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)
    size = max(1, len(data) // pieces)
    sent = wire.headers(stream, block(*OK))
    for at in range(0, len(data), size):
        piece = bytes((padding,)) + data[at : at + size] + bytes(padding)
        sent += wire.frame(wire.DATA, wire.PADDED, stream, piece)
    return sent + wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, stream, block(FINE))


def cut(sent: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The bytes as TCP may deliver them."""
    edges = [0, *sorted(min(one, len(sent)) for one in cuts), len(sent)]
    return (sent[start:end] for start, end in itertools.pairwise(edges))


@pytest.mark.parametrize(
    ("target", "address", "authority"),
    [
        ("dns:///bot-manager:9000", ("bot-manager", 9000), "bot-manager:9000"),
        ("127.0.0.1:80", ("127.0.0.1", 80), "127.0.0.1:80"),
        ("ipv6:[::1]:5", ("::1", 5), "[::1]:5"),
        ("[fd00::7]:443", ("fd00::7", 443), "[fd00::7]:443"),
    ],
)
def test_targets_are_read_as_grpc_writes_them(target: str, address: tuple[str, int], authority: str) -> None:
    """The same settings serve both ways to call."""
    assert parse_target(target) == address
    assert Target(*address, 1).authority == authority


@pytest.mark.parametrize("target", ["", "bot-manager", ":80", "a:b", "dns:///a:"])
def test_a_target_without_host_or_port_is_refused(target: str) -> None:
    """At the start, not with the first call."""
    with pytest.raises(ValueError, match="expected host:port"):
        parse_target(target)


@given(
    messages=st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    padding=st.integers(0, 255),
    pieces=st.integers(1, 7),
    cuts=st.lists(st.integers(0, 3000), max_size=30),
)
def test_answers_are_the_same_however_they_arrive(
    messages: list[bytes], padding: int, pieces: int, cuts: list[int]
) -> None:
    """TCP has no frames: a frame's head may come in nine reads, or ten answers in one."""

    async def run() -> list[bytes]:
        connection = Connection(1000, lambda _: None)
        connection.connection_made(Transport())
        connection.data_received(wire.settings(()))
        calls = [connection.call(b"", b"", None) for _ in messages]
        sent = b"".join(
            answer(call.stream, [message], padding, pieces)
            for call, message in zip(calls, messages, strict=True)
        )
        for piece in cut(sent, cuts):
            connection.data_received(piece)
        answers = [await call for call in calls]
        connection.close()
        return answers

    assert asyncio.run(run()) == messages


@given(
    messages=st.lists(st.binary(max_size=300), max_size=6),
    padding=st.integers(0, 255),
    pieces=st.integers(1, 7),
    cuts=st.lists(st.integers(0, 3000), max_size=30),
)
def test_streams_are_the_same_however_they_arrive(
    messages: list[bytes], padding: int, pieces: int, cuts: list[int]
) -> None:
    """Frames know nothing of messages: one may come in many, or many in one."""

    async def run() -> list[bytes]:
        connection = streamed(Transport())
        call = connection.stream(b"", b"", None)
        reading = asyncio.ensure_future(read_all(call))
        for piece in cut(answer(call.stream, messages, padding, pieces), cuts):
            connection.data_received(piece)
            await asyncio.sleep(0)
        found = await reading
        connection.close()
        return found

    assert asyncio.run(run()) == messages


@given(sizes=st.lists(st.integers(0, 200_000), min_size=1, max_size=6), steps=st.integers(1, 5))
def test_a_window_that_is_read_empty_opens_again(sizes: list[int], steps: int) -> None:
    """A peer that sends all it may is never stuck, whatever the messages' sizes, and never gets to send much more than is read."""

    async def run() -> list[int]:
        transport = Transport()
        connection = streamed(transport)
        call = connection.stream(b"", b"", None)
        reading = asyncio.ensure_future(read_all(call))
        connection.data_received(wire.headers(call.stream, block(*OK)))
        data = b"".join(b"\0" + size.to_bytes(4, "big") + bytes(size) for size in sizes)
        window, at = wire.DEFAULT_WINDOW, 0
        while at < len(data):
            for _ in range(steps):
                piece = data[at : at + min(window, wire.MAX_FRAME_BYTES)]
                at += len(piece)
                window -= len(piece)
                connection.data_received(wire.frame(wire.DATA, 0, call.stream, piece))
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # the reader reads, the connection writes
            window += allowed(transport, call.stream)
            assert 0 < window <= max(wire.DEFAULT_WINDOW, *sizes) + 5
        end = wire.END_HEADERS | wire.END_STREAM
        connection.data_received(wire.frame(wire.HEADERS, end, call.stream, block(FINE)))
        found = await reading
        connection.close()
        return [len(message) for message in found]

    assert asyncio.run(run()) == sizes


def streamed(transport: Transport) -> Connection:
    """A connection for streams, ready."""
    connection = Connection(1_000_000, lambda _: None, streamed=True)
    connection.connection_made(transport)
    connection.data_received(wire.settings(()))
    return connection


async def read_all(call: StreamedCall) -> list[bytes]:
    found = []
    while (message := await call.read()) is not grpc.aio.EOF:
        found.append(message)
    return found


def allowed(transport: Transport, stream: int) -> int:
    """What the WINDOW_UPDATE frames since the last look let through of this stream."""
    written, transport.written = transport.written, b""
    written = written.removeprefix(wire.PREFACE)
    more = 0
    while written:
        high, low, kind, _, number = wire.FRAME_HEAD.unpack_from(written)
        end = wire.HEAD_BYTES + (high << 8 | low)
        if (kind, number) == (wire.WINDOW_UPDATE, stream):
            more += int.from_bytes(written[wire.HEAD_BYTES : end], "big")
        written = written[end:]
    return more


@given(st.binary(max_size=400))
def test_rubbish_ends_in_a_failure_and_never_in_an_exception(rubbish: bytes) -> None:
    """Whatever a peer sends, the call is over when the connection is."""

    async def run() -> None:
        connection = Connection(1000, lambda _: None)
        connection.connection_made(Transport())
        connection.data_received(wire.settings(()))
        call = connection.call(b"", b"", None)
        connection.data_received(rubbish)
        connection.connection_lost(None)
        assert call.is_over
        await asyncio.gather(_swallow(call))
        connection = streamed(Transport())
        stream = connection.stream(b"", b"", None)
        connection.data_received(wire.headers(1, block(*OK)) + rubbish)
        connection.connection_lost(None)
        assert stream.is_over
        await asyncio.gather(_swallow(read_all(stream)))

    asyncio.run(run())


async def _swallow(call: object) -> None:
    try:
        await call  # type: ignore[misc]
    except Exception as error:
        assert type(error).__name__ == "AioRpcError"  # noqa: PT017


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=400),
        ),
        max_size=12,
    )
)
def test_header_blocks_are_read_as_they_were_written(fields: list[tuple[str, str]]) -> None:
    """Names of any length, values longer than a length byte; what is -bin is bytes."""
    fields = [(name.removesuffix("-bin") or "x", value) for name, value in fields]
    assert wire.read_block(block(*fields), 1_000_000) == tuple(fields)
