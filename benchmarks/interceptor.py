"""CPU of an authenticated unary call through the whole interceptor stack, against the same handler bare. Aim: at most 1.3 times.

Both servers run as processes of their own with the same mutual TLS and uvloop; the load comes from this process. The call is
GetBot with a permission rule for one bot: token (seen before, so its signature is cached), roles, deadline, validation, metrics, one log line.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil

from benchmarks.report import Figure, print_figures
from vivesphere.bot_manager.v1 import bot_service_pb2, bot_service_pb2_grpc

CALLS = 4000
IN_FLIGHT = 32
ROUNDS = 5
MICRO = 1e6
BOT = "0190c6a1-0000-7000-8000-0000000000aa"


@dataclass(frozen=True, slots=True)
class Served:
    """A server process, ready."""

    process: psutil.Process
    call: Any
    metadata: tuple[tuple[str, str], ...]


async def measure() -> None:
    """Run and print."""
    async with _server("bare") as bare, _server("full") as full:
        samples: dict[str, list[float]] = {"bare": [], "full": []}
        for server in (bare, full):
            await _load(server, CALLS // 4)
        for _ in range(ROUNDS):
            for name, server in (("bare", bare), ("full", full)):
                samples[name].append(await _load(server, CALLS))
    ratios = [full / bare for full, bare in zip(samples["full"], samples["bare"], strict=True)]
    print_figures(
        f"Server CPU of one unary call over mutual TLS ({CALLS} calls a round, {IN_FLIGHT} in flight)",
        [
            Figure("bare handler", "µs", samples["bare"]),
            Figure("whole interceptor stack, token checked", "µs", samples["full"]),
            Figure("ratio (aim ≤ 1.3)", "×", ratios),
        ],
    )


async def _load(server: Served, calls: int) -> float:
    """CPU microseconds of the server process per call."""
    request = bot_service_pb2.GetBotRequest(bot_id=BOT)
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await server.call(request, metadata=server.metadata, timeout=30)

    before = _cpu(server.process)
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return (_cpu(server.process) - before) / calls * MICRO


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@asynccontextmanager
async def _server(kind: str) -> AsyncIterator[Served]:
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.interceptor_server",
            kind,
            folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        port, token = (await process.stdout.readline()).decode().split()
        tls = Path(folder) / "tls" / "gateway"
        credentials = grpc.ssl_channel_credentials(
            (tls / "ca.crt").read_bytes(), (tls / "tls.key").read_bytes(), (tls / "tls.crt").read_bytes()
        )
        options = (("grpc.ssl_target_name_override", "bot-manager"),)
        try:
            async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
                call = bot_service_pb2_grpc.BotServiceStub(channel).GetBot
                metadata = (("authorization", f"Bearer {token}"), ("x-request-id", BOT))
                yield Served(psutil.Process(process.pid), call, metadata)
        finally:
            process.terminate()
            await process.wait()
