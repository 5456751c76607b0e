"""Many clients, each with a stream of its own through a front: messages delivered a second, and CPU of the front for each.

The clients are bare connections of this process that count messages in what comes; they are cheaper than anything that parses HTTP, and run
beside the server behind. Counting begins once every client has had its first message.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from benchmarks.front.fronts import Front

PATH: Final = "/v1/things:watch?interval_ms={interval}"
NDJSON: Final = "application/x-ndjson"
SSE: Final = "text/event-stream"
OPEN_SECONDS: Final = 120
_MESSAGE: Final = b'"tick"'
_CONNECTING: Final = 100  # at once, below every listen queue


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came to all clients together."""

    messages: int
    seconds: float
    cpu_seconds: float
    resident_mib: float


class _Client(asyncio.Protocol):
    """One connection; `count` messages have come so far."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self.count = 0
        self.head = b""
        self.lost = False
        self.first = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.count:
            self.head += data
        text = self._rest + data
        self.count += text.count(_MESSAGE)
        self._rest = text[1 - len(_MESSAGE) :]
        if self.count and not self.first.done():
            self.first.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self.first.done():
            self.first.set_exception(RuntimeError(f"a stream ended before it began: {self.head[:200]!r}"))


async def fan_out(
    front: Front, clients: int, interval_ms: int, seconds: float, accept: str
) -> Delivered | None:
    """Messages of a time; None when the front has no answer of the accepted kind. Raises RuntimeError when a stream breaks."""
    async with _streams(front, clients, interval_ms, accept) as made:
        if b"content-type: " + accept.encode() not in made[0].head.lower() and accept == SSE:
            return None
        came, cpu, began = sum(one.count for one in made), front.cpu_seconds(), time.perf_counter()
        await asyncio.sleep(seconds)
        delivered = Delivered(
            sum(one.count for one in made) - came,
            time.perf_counter() - began,
            front.cpu_seconds() - cpu,
            front.resident_mib(),
        )
        if any(one.lost for one in made):
            raise RuntimeError(f"{front.name} ended streams")
        return delivered


@asynccontextmanager
async def _streams(front: Front, clients: int, interval_ms: int, accept: str) -> AsyncIterator[list[_Client]]:
    address = urlsplit(front.url)
    assert address.hostname
    assert address.port
    path = PATH.format(interval=interval_ms)
    request = f"GET {path} HTTP/1.1\r\nhost: {address.netloc}\r\naccept: {accept}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    transports: list[asyncio.Transport] = []
    made: list[_Client] = []
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            for _ in range(0, clients, _CONNECTING):
                opened = await asyncio.gather(
                    *(
                        loop.create_connection(lambda: _Client(request), address.hostname, address.port)
                        for _ in range(min(_CONNECTING, clients - len(made)))
                    )
                )
                transports += [transport for transport, _ in opened]
                made += [client for _, client in opened]
                await asyncio.gather(*(client.first for _, client in opened))
        yield made
    finally:
        for transport in transports:
            transport.abort()
        await asyncio.sleep(
            0.5
        )  # the front notices that its clients are gone before the next one is measured
