"""Load on one URL: as many requests as 32 connections carry, or a fixed rate.

wrk where it is installed, pinned beside the server behind; otherwise a small client in this process, which measures CPU of a front as well
but not how many requests it could take.
"""

import asyncio
import math
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.front.build import HERE
from benchmarks.front.fronts import OTHER_CORE, pinned

CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Answered:
    """What a load came to."""

    requests: int
    seconds: float
    failed: int


async def saturate(url: str, seconds: float) -> Answered:
    """Keep 32 connections busy for a time. Raises RuntimeError when the tool fails."""
    if shutil.which("wrk") is None:
        return await by_client(url, seconds=seconds)
    script = str(HERE / "load" / "summary.lua")
    duration = f"{max(1, round(seconds))}s"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{duration}", "-s", script, url]
    printed = await _output(pinned(OTHER_CORE, command), seconds + 60)
    counted = next(line for line in printed.splitlines() if line.startswith("counted "))
    requests, microseconds, failed = map(int, counted.split()[1:])
    return Answered(requests, microseconds / 1e6, failed)


async def by_client(url: str, *, seconds: float = math.inf, requests: float = math.inf) -> Answered:
    """The small client: as many requests as were asked for, or for a time; one of the two is given."""
    ending = time.perf_counter() + seconds
    begun = done = failed = 0

    async def worker(session: aiohttp.ClientSession) -> None:
        nonlocal begun, done, failed
        while begun < requests and time.perf_counter() < ending:
            begun += 1
            async with session.get(url) as response:
                await response.read()
                done += 1
                failed += response.status != 200

    began = time.perf_counter()
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(worker(session) for _ in range(CONNECTIONS)))
    return Answered(done, time.perf_counter() - began, failed)


@dataclass(frozen=True, slots=True)
class Waits:
    """Times from request to answer at a fixed rate, in milliseconds."""

    p50: float
    p99: float


async def at_rate(url: str, rate: int, seconds: int, folder: Path) -> Waits | None:
    """`rate` requests a second over 20 connections, asked for whether or not earlier ones were answered; None without h2load."""
    if shutil.which("h2load") is None:
        return None
    clients = 20
    log = folder / "waits.tsv"
    log.unlink(missing_ok=True)
    command = [
        "h2load",
        "--h1",
        f"-c{clients}",
        f"--rps={rate / clients:g}",
        f"-n{rate * seconds}",
        f"--log-file={log}",
        url,
    ]
    await _output(pinned(OTHER_CORE, command), seconds + 60)
    rows = [line.split("\t") for line in log.read_text(encoding="utf-8").splitlines()]
    waits = [int(row[2]) / 1000 for row in rows if row[1] == "200"]
    if len(waits) < len(rows) or len(waits) < 100:
        raise RuntimeError("requests failed at a fixed rate")
    parts = statistics.quantiles(waits, n=100)
    return Waits(parts[49], parts[98])


async def _output(command: list[str], timeout: float) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(timeout):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = printed.decode(errors="replace")
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {text.strip()[-500:]}")
    return text
