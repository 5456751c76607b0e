"""Laws of greedy and of slow clients, over real connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.metadata import details_of
from tests.integration.gateway.shelf import Shelf, shelf
from tests.integration.gateway.test_rest import reason_of, until

PROXY = "127.0.0.1/32"


def client_at(address: str) -> dict[str, str]:
    """Requests of another machine, as a proxy in front tells of it."""
    return {"x-forwarded-for": address}


@pytest.fixture(scope="module")
async def narrow() -> AsyncIterator[Shelf]:
    """A gateway that takes little; nobody's bucket fills again within a test."""
    async with shelf(
        trusted_proxies=PROXY, requests_per_second=0.01, requests_burst=3, max_in_flight=6, max_in_flight_per_client=2,
        max_streams=3, max_streams_per_client=2,
    ) as made:  # fmt: skip
        yield made


async def statuses(*calls: Awaitable[httpx.Response]) -> list[int]:
    """In order."""
    return [(await call).status_code for call in calls]


async def test_a_flood_is_told_when_to_come_back(narrow: Shelf) -> None:
    """The whole error, since a client has to act on it by itself."""
    answers = [await narrow.client.get("/api/v1/books/1", headers=client_at("192.0.2.1")) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused = answers[-1]
    assert (refused.json()["code"], reason_of(refused)) == (8, "RATE_LIMITED")
    delay = next(d["retryDelay"] for d in refused.json()["details"] if d["@type"].endswith("RetryInfo"))
    assert 0 < float(delay.removesuffix("s")) <= 100
    assert float(delay.removesuffix("s")) <= int(refused.headers["retry-after"]) <= 100


async def test_others_and_probes_do_not_pay_for_a_flood(narrow: Shelf) -> None:
    """One client's bucket is its own; and what watches the gateway gets through."""
    flood = client_at("192.0.2.2")
    assert 429 in await statuses(*(narrow.client.get("/", headers=flood) for _ in range(4)))
    assert await statuses(narrow.client.get("/", headers=client_at("192.0.2.3"))) == [200]
    for probe in ("/healthz", "/readyz", "/metrics"):
        assert await statuses(*(narrow.client.get(probe, headers=flood) for _ in range(2))) == [200, 200]


async def test_the_last_half_of_an_ipv6_address_is_no_other_client(narrow: Shelf) -> None:
    """One household has 2^64 of them."""
    calls = [narrow.client.get("/", headers=client_at(f"2001:db8:0:1::{n}")) for n in range(1, 5)]
    assert await statuses(*calls) == [200, 200, 200, 429]
    assert await statuses(narrow.client.get("/", headers=client_at("2001:db8:0:2::1"))) == [200]


async def test_loopback_has_no_bucket(narrow: Shelf) -> None:
    """The machine's own people and tests."""
    assert await statuses(*(narrow.client.get("/") for _ in range(8))) == [200] * 8


async def test_a_wrong_path_is_a_call_too(narrow: Shelf) -> None:
    """Guessing is what floods do."""
    calls = [narrow.client.get("/api/v1/nothing", headers=client_at("192.0.2.4")) for _ in range(4)]
    assert await statuses(*calls) == [404, 404, 404, 429]


async def test_calls_under_way_are_bounded_by_client_and_in_all(narrow: Shelf) -> None:
    """What waits for a slow service must not pile up; a place that is free again is given again."""
    narrow.gate.clear()

    def lend(address: str) -> "asyncio.Task[httpx.Response]":
        call = narrow.client.post("/api/v1/books/1:lend", json={}, headers=client_at(address))
        return asyncio.get_running_loop().create_task(call)

    seen = len(narrow.backend.seen)
    waiting = [lend("198.51.100.1"), lend("198.51.100.1")]
    await until(lambda: len(narrow.backend.seen) == seen + 2)
    refused = await lend("198.51.100.1")
    assert (refused.status_code, reason_of(refused), refused.headers["retry-after"]) == (
        429,
        "OVERLOADED",
        "1",
    )
    waiting += [lend("198.51.100.2"), lend("198.51.100.2"), lend("198.51.100.3"), lend("198.51.100.3")]
    await until(lambda: len(narrow.backend.seen) == seen + 6)
    refused = await lend("127.0.0.1")
    assert (refused.status_code, reason_of(refused), refused.headers["retry-after"]) == (
        503,
        "OVERLOADED",
        "1",
    )
    assert await statuses(narrow.client.get("/healthz")) == [200]
    narrow.gate.set()
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * 6
    assert await statuses(narrow.client.get("/", headers=client_at("198.51.100.1"))) == [200]


async def test_streams_are_bounded_by_themselves(narrow: Shelf) -> None:
    """A stream has no end of its own, so it holds no place of a call; but not any number may be open."""
    narrow.gate.clear()
    open_streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def connect(address: str) -> bytes:
        """The status line of a stream that stays open."""
        reader, writer = await asyncio.open_connection("127.0.0.1", narrow.port)
        head = f"GET /api/v1/pages?count=1&bytes=1 HTTP/1.1\r\nhost: h\r\nx-forwarded-for: {address}\r\n\r\n"
        writer.write(head.encode())
        open_streams.append((reader, writer))
        return (await reader.readline()).split()[1]

    assert [await connect("203.0.113.1") for _ in range(3)] == [b"200", b"200", b"429"]
    assert [await connect("203.0.113.2") for _ in range(2)] == [b"200", b"503"]
    assert [await connect("127.0.0.1")] == [b"503"]
    assert await statuses(narrow.client.get("/")) == [200]
    for _, writer in open_streams:
        writer.close()
    await until(lambda: narrow.admission.under_way == (0, 0))
    narrow.gate.set()


@pytest.mark.parametrize("path", ["/api/v1/pages?count=100000&bytes=262144", "/api/v1/long?bytes=16000000"])
async def test_a_client_that_reads_nothing_is_cut(path: str) -> None:
    """Or it would hold a call, and what the service keeps for it, for as long as it likes: a stream, or a large answer."""
    async with shelf(write_timeout_seconds=0.3) as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket transport
        writer.write(f"GET {path} HTTP/1.1\r\nhost: h\r\n\r\n".encode())

        async def metrics() -> str:
            return (await made.client.get("/metrics")).text

        async with asyncio.timeout(30):
            while 'status="499"' not in await metrics():
                await asyncio.sleep(0.05)
        await until(lambda: made.admission.under_way == (0, 0))
        if "pages" in path:
            await until(lambda: made.cancelled == 1)
        writer.close()
        del reader


async def test_the_grpc_door_has_the_same_bounds(narrow: Shelf) -> None:
    """A client has one bucket, whichever door it takes; health is asked for by probes."""
    narrow.gate.set()
    types = {
        name: narrow.backend.type(f"vivesphere.shelf.v1.{name}") for name in ("BookRequest", "PageRequest")
    }
    metadata = (("x-forwarded-for", "192.0.2.77"),)

    async def get(channel: grpc.aio.Channel) -> int:
        call: Any = channel.unary_unary("/vivesphere.shelf.v1.ShelfService/GetBook")
        return len(await call(types["BookRequest"](id="1").SerializeToString(), metadata=metadata))

    async def read(channel: grpc.aio.Channel) -> int:
        call: Any = channel.unary_stream("/vivesphere.shelf.v1.ShelfService/Pages")
        request = types["PageRequest"](count=2, bytes=1).SerializeToString()
        return len([item async for item in call(request, metadata=metadata)])

    async with grpc.aio.insecure_channel(f"127.0.0.1:{narrow.grpc_port}") as channel:
        assert await statuses(narrow.client.get("/", headers=client_at("192.0.2.77"))) == [200]
        assert await get(channel) > 0
        assert await read(channel) == 2
        for call in (get, read):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(channel)
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            status = status_pb2.Status.FromString(details_of(raised.value.trailing_metadata()) or b"")
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            assert status.details[0].Unpack(info)
            assert status.details[1].Unpack(retry)
            assert (info.reason, retry.retry_delay.ToMilliseconds() > 0) == ("RATE_LIMITED", True)
        assert await statuses(narrow.client.get("/", headers=client_at("192.0.2.77"))) == [429]
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), metadata=metadata)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await until(lambda: narrow.admission.under_way == (0, 0))


async def test_grpc_streams_are_bounded_too(narrow: Shelf) -> None:
    """And a client that cancels gives its place back."""
    narrow.gate.clear()
    request = narrow.backend.type("vivesphere.shelf.v1.PageRequest")(count=1, bytes=1).SerializeToString()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{narrow.grpc_port}") as channel:
        open_stream: Any = channel.unary_stream("/vivesphere.shelf.v1.ShelfService/Pages")
        calls = [open_stream(request, metadata=(("x-forwarded-for", "192.0.2.78"),)) for _ in range(2)]
        for call in calls:
            await call.read()
        with pytest.raises(grpc.aio.AioRpcError, match="as many streams"):
            await open_stream(request, metadata=(("x-forwarded-for", "192.0.2.78"),)).read()
        assert narrow.admission.under_way == (0, 2)
        for call in calls:
            call.cancel()
        await until(lambda: narrow.admission.under_way == (0, 0))
    narrow.gate.set()
