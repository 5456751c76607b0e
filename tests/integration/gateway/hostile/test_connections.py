"""Laws of connections: nobody keeps one by saying little or nothing, and nobody keeps others out by holding many."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import h2.config
import h2.connection
import pytest

from tests.integration.gateway.hostile.support import HOST, LONG, Gateway, can_open, close, until_closed

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(gateway: Gateway, first: bytes = b"") -> AsyncIterator[Streams]:
    """A connection over which some bytes have gone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http)
    writer.write(first)
    try:
        yield reader, writer
    finally:
        await close(writer)


def preface() -> bytes:
    """What an HTTP/2 client says first."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    return bytes(connection.data_to_send())


SILENCES = {
    "nothing": b"",
    "one letter": b"P",
    "half a head": b"GET /api/v1/things/1 HTTP/1.1\r\nHost:",
    "a whole request, then nothing": b"GET /api/v1/things/1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "half a preface of HTTP/2": preface()[:10],
    "a preface of HTTP/2": preface(),
    "half a block of HTTP/2 headers": preface() + b"\x00\x00\x05\x01\x00\x00\x00\x00\x01\x82\x86\x84\x87\x88",
}


async def test_who_falls_silent_loses_the_connection(impatient: Gateway) -> None:
    """The HTTP server itself waits for ever for a first line, and for an HTTP/2 client that answers pings."""

    async def fall_silent(said: str) -> str:
        async with connected(impatient, SILENCES[said]) as (reader, _):
            await until_closed(reader)
        return said

    assert await asyncio.gather(*map(fall_silent, SILENCES)) == list(SILENCES)


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """The piece every tenth of a second until it fails."""
    while not writer.is_closing():
        writer.write(piece)
        await asyncio.sleep(0.1)


async def test_who_says_a_little_again_and_again_is_not_waited_for_either(impatient: Gateway) -> None:
    """Slowloris: each byte would begin the wait anew, if only pauses were bounded."""

    async def status(head: bytes, piece: bytes) -> bytes:
        async with connected(impatient, head) as (reader, writer):
            dripping = asyncio.create_task(drip(writer, piece))
            answer = await until_closed(reader)
            dripping.cancel()
        return answer[:13]

    get, post = (b"%s /api/v1/things HTTP/1.1\r\n" % method + HOST for method in (b"GET", b"POST"))
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
    assert await asyncio.gather(
        status(get, b"X-A: b\r\n"),
        status(post + b"Content-Length: 9000\r\n\r\n{", b" "),
        status(chunked, b"1\r\n \r\n"),
    ) == [b"", b"HTTP/1.1 408 ", b"HTTP/1.1 408 "]


async def test_a_call_and_a_stream_that_take_their_time_are_not_idle(impatient: Gateway) -> None:
    """The bound on idle connections is for those that ask for nothing."""
    slow = b"GET /api/v1/count/2 HTTP/1.1\r\n" + HOST + b"\r\n"  # an item every two seconds
    sleep = b"GET /api/v1/sleep?seconds=3 HTTP/1.1\r\n" + HOST + b"\r\n"
    async with (
        connected(impatient, slow) as (stream, _),
        connected(impatient, sleep) as (answer, _),
        asyncio.timeout(30),
    ):
        for number in range(2):
            line = await stream.readuntil(b"}\n")
            assert json.loads(line[line.index(b'{"result"') :])["result"].get("big", "0") == str(number)
        assert (await answer.readline()).startswith(b"HTTP/1.1 200")


async def test_a_reader_that_takes_nothing_loses_its_stream(impatient: Gateway) -> None:
    """A closed window would hold memory here and a call at the service for as long as the client likes."""
    with socket.socket() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(greedy, ("127.0.0.1", impatient.http))
        await loop.sock_sendall(greedy, b"GET /api/v1/failstream/1 HTTP/1.1\r\n" + HOST + b"\r\n")
        async with asyncio.timeout(30):
            while not impatient.calls.get("FailStream"):
                await asyncio.sleep(0.01)
        await impatient.until_nothing_is_open()


@pytest.mark.long
@pytest.mark.skipif(not LONG, reason="half a minute, for the long profile")
async def test_ten_thousand_idle_connections_cost_bounded_memory_and_nobody_waits(attacked: Gateway) -> None:
    """A proxy's pool, or an attack: what is refused to others is nothing, what is held is little."""
    if not can_open(10_500):
        pytest.skip("the hard limit on open files is below 11,000")
    await attacked.probe()
    before = (await attacked.metrics())["process_resident_memory_bytes"]
    async with AsyncExitStack() as held:
        for number in range(10_500):
            await held.enter_async_context(connected(attacked))
            if number % 1_000 == 0:
                await attacked.probe()
        await attacked.probe()
        after = (await attacked.metrics())["process_resident_memory_bytes"]
    assert after - before < 10_000 * 16 * 1024
    await attacked.until("gateway_http_connections", 10)
