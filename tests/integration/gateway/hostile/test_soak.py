"""Laws of clients that leave: whatever they leave behind them, many times over, nothing of it stays in the gateway or at the services.

grpc.aio leaked with each cancelled stream for years (grpc#43360), and a browser cancels one with each page it leaves. The short form is for
every run; the long one does a hundred thousand.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
import pytest

from tests.integration.gateway.hostile.support import HOST, LONG, Gateway, close

STREAMS = 100_000 if LONG else 1_500
UNARY = 10_000 if LONG else 300
AT_ONCE = 24
MOST_GROWTH = 0.05 if LONG else 0.1
"""Share of resident memory after a warm-up. The short form's is as long as what is measured: the collector looks for cycles only once
20,000 objects are new (`mesh.collecting`), which fifteen hundred streams just reach."""

Leave = Callable[[Gateway, int], Awaitable[None]]


async def leave_stream(gateway: Gateway, number: int) -> None:
    """Read the first item of an endless NDJSON stream, then close the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http)
    writer.write(b"GET /api/v1/count/0 HTTP/1.1\r\n" + HOST + b"\r\n")
    await asyncio.wait_for(reader.readuntil(b'{"result"'), 30)
    if number % 2:
        writer.transport.abort()  # a reset instead of an end
    await close(writer)


async def leave_unary(gateway: Gateway, number: int) -> None:
    """Ask for what never comes, and close the connection before, in the middle of, or after the time at which a watch begins."""
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.http)
    writer.write(b"GET /api/v1/fail/1 HTTP/1.1\r\n" + HOST + b"\r\n")
    await asyncio.sleep(0.03 * (number % 4))
    await close(writer)


async def repeat(gateway: Gateway, leave: Leave, times: int) -> None:
    """Leave this often, some at once; then wait until nothing is open any more."""
    numbers = iter(range(times))

    async def one_by_one() -> None:
        for number in numbers:
            await leave(gateway, number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_by_one())
    await gateway.until_nothing_is_open()


async def held_against_memory(gateway: Gateway, leave: Leave, times: int) -> None:
    """Leave so often, and hold what the process has before and after against each other."""
    await repeat(gateway, leave, times // 5 if LONG else times)
    before = await gateway.metrics()
    await repeat(gateway, leave, times)
    await gateway.until("gateway_tasks", before["gateway_tasks"] + 2)
    await gateway.until("process_open_fds", before["process_open_fds"] + 2)
    after = await gateway.metrics()
    grown = after["process_resident_memory_bytes"] / before["process_resident_memory_bytes"] - 1
    print(f"{times} times: {before['process_resident_memory_bytes'] / 1e6:.1f} MB, {grown:+.2%}")
    assert grown < MOST_GROWTH
    await gateway.probe()


@pytest.mark.long
async def test_streams_that_browsers_leave_cost_nothing_afterwards(attacked: Gateway) -> None:
    """No task, no descriptor, no call at the service, no memory."""
    await held_against_memory(attacked, leave_stream, STREAMS)


@pytest.mark.long
async def test_calls_whose_clients_go_away_cost_nothing_afterwards(attacked: Gateway) -> None:
    """The service is told that nobody waits for its answer any more, and the gateway forgets."""
    await held_against_memory(attacked, leave_unary, UNARY)


@pytest.mark.long
async def test_streams_cancelled_at_the_grpc_door_cost_nothing_afterwards(attacked: Gateway) -> None:
    """Here both ends of the gateway are grpc.aio's."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{attacked.grpc}") as channel:
        count = channel.unary_stream("/vivesphere.echo.v1.EchoService/Count")

        async def leave(gateway: Gateway, number: int) -> None:
            call = count(b"", timeout=60)
            assert await call.read() is not grpc.aio.EOF
            call.cancel()

        await held_against_memory(attacked, leave, STREAMS)


@pytest.mark.long
async def test_calls_given_up_at_the_grpc_door_cost_nothing_afterwards(attacked: Gateway) -> None:
    """grpc.aio keeps 1 kB of each unary call whose waiting task is cancelled, unless it is given up as `gateway.cancelling` does."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{attacked.grpc}") as channel:
        fail = channel.unary_unary("/vivesphere.echo.v1.EchoService/Fail")

        async def leave(gateway: Gateway, number: int) -> None:
            call = fail(b"", timeout=0.05 if number % 2 else 60)
            if not number % 2:
                asyncio.get_running_loop().call_later(0.03, call.cancel)
            with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
                await call

        await held_against_memory(attacked, leave, UNARY)
