"""Warm start of `vivesphere up`, from the command to ready, and what each process then holds in memory.

Cold is the first start on an empty directory (databases made, migrated, vault initialised); warm are the starts after it.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.report import Figure, print_figures
from cli.layout import DataDir
from cli.state import read_state

WARM_STARTS = 3
MiB = 1024 * 1024
PATIENCE_SECONDS = 120
PASSWORD = "benchmark-only-password"  # noqa: S105 - of a mesh that lives for the length of a benchmark


@dataclass(frozen=True, slots=True)
class Up:
    """A mesh started by the command line."""

    seconds: float
    data: DataDir
    addresses: dict[str, str]


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Up]:
    """`vivesphere up` on the folder, ready; stopped at the end. Ports are free ones."""
    command = [sys.executable, "-m", "cli.main", "up", "--data-dir", str(folder)]
    ports = ["--http-port", "0", "--grpc-port", "0", "--sandbox-port", "0"]
    environment = {**os.environ, "VIVESPHERE_ADMIN_PASSWORD": PASSWORD}
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, *ports, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await until_announced(process)
        data = DataDir(folder)
        yield Up(time.monotonic() - began, data, read_state(data).addresses)
    finally:
        process.terminate()
        await process.wait()


async def until_announced(process: asyncio.subprocess.Process) -> None:
    """Returns once `vivesphere up` says that it runs. Raises RuntimeError with what it printed if it ends instead."""
    assert process.stdout is not None
    seen = []
    async for line in process.stdout:
        seen.append(line.decode())
        if "Ctrl-C" in seen[-1]:
            return
    raise RuntimeError("vivesphere up ended:\n" + "".join(seen))


async def measure() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        async with running(folder) as up:
            cold = up.seconds
        warm = []
        for _ in range(WARM_STARTS):
            async with running(folder) as up:
                warm.append(up.seconds)
                memory = _memory(up.data)
    print_figures(
        "vivesphere up, from the command to ready",
        [Figure("cold, empty directory", "s", [cold]), Figure("warm", "s", warm)],
    )
    figures = [Figure(name, "MiB", [value]) for name, value in sorted(memory.items())]
    print_figures("Resident memory by process", [*figures, Figure("all", "MiB", [sum(memory.values())])])


def _memory(data: DataDir) -> dict[str, float]:
    """Resident set of each child with its own children (PostgreSQL has several), in MiB; shared pages count each time."""
    sizes = {}
    for child in read_state(data).children:
        if child.pid is None:
            continue
        process = psutil.Process(child.pid)
        family = [process, *process.children(recursive=True)]
        sizes[child.name] = sum(member.memory_info().rss for member in family) / MiB
    return sizes
