"""What the gateway's process holds for who is connected: resident memory for each idle connection and each open stream.

A fresh gateway a line, as in the mesh: both doors, one service behind mutual TLS. `idle` connections have had one answer (HTTP/1.1) or have
exchanged settings (HTTP/2); a stream has had its first item and waits for the next. Clients, service and gateway share the machine.
Memory that a connection leaves behind for the next is shown by the second figure of each line: the same connections once more.
"""

import asyncio
import resource
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection

from benchmarks.report import Figure, console, print_figures
from tests.integration.gateway.hostile.support import HOST, Gateway, close, gateway

KiB = 1024
ROUNDS = 2
BATCH = 100
LIMITS = {"idle_timeout_seconds": 600, "header_timeout_seconds": 600, "max_connections": 20_000}

Hold = Callable[[Gateway, AsyncExitStack, int], Awaitable[None]]


async def measure() -> None:
    """Run and print. What needs more open files than this process may have is left out with a word."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    cases: Sequence[tuple[str, Hold, int, int]] = (
        ("idle HTTP/1.1 connection", _idle, 1_000, 1),
        ("idle HTTP/1.1 connection", _idle, 10_000, 1),
        ("idle HTTP/2 connection", _idle_h2, 1_000, 1),
        ("idle HTTP/2 connection", _idle_h2, 10_000, 1),
        ("open NDJSON stream, a connection each", _ndjson, 1_000, 1),
        ("open SSE stream, a connection each", _sse, 1_000, 1),
        ("open NDJSON stream, 100 to an HTTP/2 connection", _ndjson_h2, 1_000, 100),
    )
    figures = []
    for name, hold, number, to_one in cases:
        if number // to_one + 500 > files:
            console.print(f"{number} of {name}: left out, the limit on open files is {files}")
            continue
        figures += await _case(name, hold, number)
    print_figures("Resident memory of the gateway", figures)


async def _case(name: str, hold: Hold, number: int) -> list[Figure]:
    first: list[float] = []
    again: list[float] = []
    for _ in range(ROUNDS if number <= 1_000 else 1):
        with tempfile.TemporaryDirectory() as directory:
            async with gateway(Path(directory), LIMITS) as running:
                for _ in range(20):
                    await running.probe()
                before = await _resident(running)
                for samples in (first, again):
                    async with AsyncExitStack() as held:
                        await hold(running, held, number)
                        await running.probe()
                        samples.append((await _resident(running) - before) / number / KiB)
                    await running.until("gateway_http_in_flight", 1)
                    await running.until("gateway_http_connections", 10)
    return [
        Figure(f"{number:,} × {name}", "KiB each", first),
        Figure(f"{number:,} × {name}, again", "KiB each", again),
    ]


async def _resident(running: Gateway) -> float:
    return (await running.metrics())["process_resident_memory_bytes"]


async def _many(held: AsyncExitStack, number: int, one: Callable[[AsyncExitStack], Awaitable[None]]) -> None:
    for begun in range(0, number, BATCH):
        await asyncio.gather(*(one(held) for _ in range(min(BATCH, number - begun))))


async def _idle(running: Gateway, held: AsyncExitStack, number: int) -> None:
    request = b"GET /api/v1/things/1 HTTP/1.1\r\n" + HOST + b"\r\n"
    await _many(held, number, lambda stack: _h1(running, stack, request, b'{"id":"1"}'))


async def _ndjson(running: Gateway, held: AsyncExitStack, number: int) -> None:
    request = b"GET /api/v1/count/3600 HTTP/1.1\r\n" + HOST + b"\r\n"
    await _many(held, number, lambda stack: _h1(running, stack, request, b"}\n"))


async def _sse(running: Gateway, held: AsyncExitStack, number: int) -> None:
    request = b"GET /api/v1/count/3600 HTTP/1.1\r\nAccept: text/event-stream\r\n" + HOST + b"\r\n"
    await _many(held, number, lambda stack: _h1(running, stack, request, b"}\n"))


async def _h1(running: Gateway, held: AsyncExitStack, request: bytes, until: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.http)
    held.push_async_callback(close, writer)
    writer.write(request)
    await asyncio.wait_for(reader.readuntil(until), 60)


async def _idle_h2(running: Gateway, held: AsyncExitStack, number: int) -> None:
    await _many(held, number, lambda stack: _h2(running, stack, 0))


async def _ndjson_h2(running: Gateway, held: AsyncExitStack, number: int) -> None:
    for _ in range(number // 100):
        await _h2(running, held, 100)


async def _h2(running: Gateway, held: AsyncExitStack, streams: int) -> None:
    """A connection whose settings are acknowledged, with so many streams that have had their first item."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.http)
    held.push_async_callback(close, writer)
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    for stream in range(streams):
        names = {":method": "GET", ":scheme": "http", ":authority": "x", ":path": "/api/v1/count/3600"}
        client.send_headers(2 * stream + 1, list(names.items()), end_stream=True)
    writer.write(client.data_to_send())
    wanted, seen = (
        {"SettingsAcknowledged": 1, "DataReceived": streams},
        {"SettingsAcknowledged": 0, "DataReceived": 0},
    )
    while any(seen[kind] < wanted[kind] for kind in wanted):
        for event in client.receive_data(await asyncio.wait_for(reader.read(65536), 60)):
            kind = type(event).__name__
            if kind in seen:
                seen[kind] += 1
        writer.write(client.data_to_send())
