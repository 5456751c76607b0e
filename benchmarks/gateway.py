"""REST → gateway → service → database and back: round trips per second, and CPU of the gateway per request.

`GET /api/v1/bots/{bot_id}` with an access token against a mesh that `vivesphere up` started, keep-alive connections. The comparison is
the same call by gRPC through the gateway's door.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import grpc.aio
import psutil

from benchmarks.report import Figure, print_figures
from benchmarks.startup import PASSWORD, running
from cli.layout import DataDir
from cli.rest import Api
from cli.state import read_state
from vivesphere.bot_manager.v1 import bot_service_pb2, bot_service_pb2_grpc

CALLS = 3000
IN_FLIGHT = 32
ROUNDS = 5
MICRO = 1e6


async def measure() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as name:
        async with running(Path(name) / "data") as up:
            url = up.addresses["console"].rstrip("/")
            bot_id, token = await asyncio.to_thread(_prepare, url)
            gateway = _process(up.data, "gateway")
            service = _process(up.data, "bot_manager")
            authorization = f"Bearer {token}"
            async with (
                aiohttp.ClientSession(headers={"authorization": authorization}) as session,
                grpc.aio.insecure_channel(up.addresses["grpc"]) as channel,
            ):
                get_bot = bot_service_pb2_grpc.BotServiceStub(channel).GetBot
                request = bot_service_pb2.GetBotRequest(bot_id=bot_id)

                async def by_rest() -> None:
                    async with session.get(f"{url}/api/v1/bots/{bot_id}") as response:
                        response.raise_for_status()
                        await response.read()

                async def by_grpc() -> None:
                    await get_bot(request, metadata=(("authorization", authorization),), timeout=30)

                await _figures("REST", by_rest, gateway, service)
                await _figures("gRPC door", by_grpc, gateway, service)


def _prepare(url: str) -> tuple[str, str]:
    with Api(url) as api:
        pair = api.sign_in("admin", PASSWORD)
        return api.post("/api/v1/bots", {"handle": "measured"})["id"], pair["accessToken"]


def _process(data: DataDir, name: str) -> psutil.Process:
    pid = next(child.pid for child in read_state(data).children if child.name == name)
    assert pid is not None
    return psutil.Process(pid)


async def _figures(
    title: str, call: Callable[[], Awaitable[None]], gateway: psutil.Process, service: psutil.Process
) -> None:
    rates, at_gateway, at_service = [], [], []
    await _load(call, CALLS // 4)
    for _ in range(ROUNDS):
        before = _cpu(gateway), _cpu(service)
        seconds = await _load(call, CALLS)
        rates.append(CALLS / seconds)
        at_gateway.append((_cpu(gateway) - before[0]) / CALLS * MICRO)
        at_service.append((_cpu(service) - before[1]) / CALLS * MICRO)
    print_figures(
        f"{title}: GetBot, {IN_FLIGHT} in flight, {CALLS} calls a round",
        [
            Figure("round trips", "/s", rates),
            Figure("CPU at the gateway", "µs", at_gateway),
            Figure("CPU at bot_manager", "µs", at_service),
        ],
    )


async def _load(call: Callable[[], Awaitable[None]], calls: int) -> float:
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
