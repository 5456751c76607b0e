"""Laws of HTTP/2 on the HTTP port: floods of frames, streams reset as soon as they are opened, readers that open no window.

The client speaks with hyper-h2, and where that is too polite writes frames itself (RFC 9113 section 4.1).
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from tests.integration.gateway.hostile.support import PROBE_SECONDS, Gateway, close

HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 1, 3, 4, 6, 9
END_STREAM = 1
GET = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/api/v1/things/1")]


class Client:
    """One HTTP/2 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.events: list[h2.events.Event] = []
        self.ended = False

    async def flush(self) -> None:
        """Send what h2 has written."""
        self.writer.write(self.h2.data_to_send())
        await asyncio.wait_for(self.writer.drain(), PROBE_SECONDS)

    def ask(self, path: str) -> int:
        """Begin a GET; returns its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [*GET[:3], (":path", path)], end_stream=True)
        return int(stream)

    async def until(self, enough: Callable[[], bool]) -> None:
        """Read until it is so, or the connection ends."""
        async with asyncio.timeout(30):
            while not enough() and not self.ended:
                data = b""
                with suppress(OSError):
                    data = await self.reader.read(65536)
                if not data:
                    self.ended = True
                    return
                self.events += self.h2.receive_data(data)
                with suppress(OSError):
                    await self.flush()

    def answered(self) -> list[str]:
        """The status of each answer so far."""
        headers = [event.headers for event in self.events if isinstance(event, h2.events.ResponseReceived)]
        return [dict(map(_text, one))[":status"] for one in headers]


def _text(pair: tuple[bytes | str, bytes | str]) -> tuple[str, str]:
    name, value = (part.decode() if isinstance(part, bytes) else part for part in pair)
    return name, value


@asynccontextmanager
async def connected(gateway: Gateway, window: int | None = None) -> AsyncIterator[Client]:
    """A connection after the preface; `window` is what each stream may be sent."""
    client = Client(*await asyncio.open_connection("127.0.0.1", gateway.http))
    client.h2.initiate_connection()
    if window is not None:
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
    await client.flush()
    try:
        yield client
    finally:
        await close(client.writer)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as it stands on the wire."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


async def flood(gateway: Gateway, pieces: list[bytes]) -> None:
    """Send all of it as fast as the gateway takes it, until it takes no more; others are answered meanwhile."""
    async with connected(gateway) as client:

        async def pour() -> None:
            with suppress(OSError):
                for piece in pieces:
                    client.writer.write(piece)
                    await client.writer.drain()

        pouring = asyncio.create_task(pour())
        reading = asyncio.create_task(client.until(lambda: False))
        for _ in range(3):
            await gateway.probe()
        await asyncio.wait([pouring], timeout=10)
        for task in (pouring, reading):
            task.cancel()
        await asyncio.wait([pouring, reading])


BLOCK = b"\x82\x86\x84\x41\x01x"  # HPACK: GET, http, /, authority x (RFC 7541 appendix A)
FLOODS = {
    "settings": [frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100)) * 1_000] * 5,
    "pings": [frame(PING, 0, 0, b"12345678") * 1_000] * 10,
    "empty data": [frame(HEADERS, 4, 1, BLOCK), *[frame(0, 0, 1) * 1_000] * 10],
    "continuations": [frame(HEADERS, 0, 1, BLOCK), *[frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 2_000)] * 100],
    "empty continuations": [frame(HEADERS, 0, 1, BLOCK), *[frame(CONTINUATION, 0, 1) * 1_000] * 5],
    "one header a million times": [frame(HEADERS, 0, 1, BLOCK + b"\x40\x01a" + b"\x7f\x80\x1f" + b"x" * 4_000),
                                   *[frame(CONTINUATION, 0, 1, b"\xbe" * 16_000)] * 64],
    "frames beyond the size": [frame(0, 0, 1, b"x" * 200_000)] * 5,
    "unknown frames": [frame(0x77, 0, 0, b"x" * 16_000)] * 200,
    "resets of what never was": [frame(RST_STREAM, 0, 1, struct.pack(">I", 8)) * 100],
}  # fmt: skip


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_of_frames_costs_no_memory_and_keeps_nobody_waiting(
    attacked: Gateway, kind: str
) -> None:
    """CVE-2019-9512, -9515, -9518 and CVE-2024-27316 are floods of this kind."""
    await attacked.probe()
    before = (await attacked.metrics())["process_resident_memory_bytes"]
    await flood(attacked, FLOODS[kind])
    await attacked.until_nothing_is_open()
    after = (await attacked.metrics())["process_resident_memory_bytes"]
    assert after - before < 10e6


async def test_streams_reset_as_soon_as_they_are_opened_do_not_pile_up(attacked: Gateway) -> None:
    """CVE-2023-44487: a reset frees a place for the next stream at once, while what it began goes on behind it."""
    async with connected(attacked) as client:
        highest = 0.0
        with suppress(OSError):
            for number in range(2_000):
                client.h2.reset_stream(client.ask("/api/v1/fail/1"))
                if number % 200 == 0:
                    await client.flush()
                    highest = max(highest, (await attacked.metrics())["gateway_http_in_flight"])
            await client.flush()
        await attacked.probe()
        await attacked.until_nothing_is_open()
        assert highest <= 400


async def test_a_reset_of_one_stream_ends_its_call_and_no_other(attacked: Gateway) -> None:
    """A page that is left resets its streams and keeps the connection; the service must be told."""
    async with connected(attacked) as client:
        unary = [client.ask("/api/v1/fail/1") for _ in range(20)]
        streams = [client.ask("/api/v1/count/0") for _ in range(20)]
        await client.flush()
        await client.until(lambda: len(client.answered()) >= 20)
        async with asyncio.timeout(30):
            while attacked.calls != attacked.calls | {"Fail": 20, "Count": 20}:
                await asyncio.sleep(0.01)
        for stream in (*unary[:10], *streams[:10]):
            client.h2.reset_stream(stream)
        await client.flush()
        async with asyncio.timeout(30):
            while attacked.calls != attacked.calls | {"Fail": 10, "Count": 10}:
                await asyncio.sleep(0.01)
        await attacked.probe()
        assert attacked.calls == attacked.calls | {"Fail": 10, "Count": 10}
    await attacked.until_nothing_is_open()  # the connection is lost: so is everything on it


async def test_streams_that_get_no_window_hold_only_what_they_have_read(impatient: Gateway) -> None:
    """Two hundred streams of one connection, more behind each than fits anywhere, and a client that takes none of it."""
    await impatient.probe()
    before = (await impatient.metrics())["process_resident_memory_bytes"]
    async with connected(impatient, window=0) as client:
        for _ in range(200):
            client.ask("/api/v1/failstream/1")
        await client.flush()
        await client.until(lambda: len(client.answered()) >= 100)
        await impatient.probe()
        after = (await impatient.metrics())["process_resident_memory_bytes"]
    assert after - before < 200 * 1_000_000
    await impatient.until_nothing_is_open()


async def test_a_header_list_over_the_limit_is_431(attacked: Gateway) -> None:
    """The bound is that of HTTP/1.1; the connection lives on."""
    async with connected(attacked) as client:
        stream = client.h2.get_next_available_stream_id()
        big = [*GET, *[(f"x-{number}", "a" * 1_000) for number in range(90)]]
        client.h2.send_headers(stream, big, end_stream=True)
        await client.flush()
        await client.until(lambda: bool(client.answered()))
        client.ask("/api/v1/things/1")
        await client.flush()
        await client.until(lambda: len(client.answered()) == 2)
        assert client.answered() == ["431", "200"]
