"""One child process: started through `launch.py` in a session of its own, listened to, and stopped for certain.

A session of its own keeps Ctrl-C away from the child (only the supervisor hears it, and stops the children in order); the
death signal set by the launcher ends it when the supervisor is killed. Policy (order, restarts) belongs to `supervisor.py`.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cli.errors import CliError
from cli.processlog import ProcessLog
from cli.terminal import Lines, LineSplitter, Stream

LAUNCHER = Path(__file__).resolve().parent / "launch.py"
KILL_SECONDS = 1.0  # what a SIGKILL may take before we stop looking
DRAIN_SECONDS = 0.3  # for the last lines in the pipe after the end; a grandchild may hold it open for ever

Identity = Literal["same", "namespace", "capability"]


async def always_ready() -> bool:
    """The probe of a child that is ready as soon as it runs."""
    return True


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to run one child.

    `ready` is a probe that answers quickly (and never raises) whether the child does its job; it is asked again until
    `ready_seconds` have passed. `stop_signal` asks for an orderly end, for which `stop_seconds` are given before SIGKILL.
    `death_signal` is what the kernel sends when the supervisor is gone. `first_env` is for the first start only, not for restarts.
    `ports` are only shown.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    ready: Callable[[], Awaitable[bool]] = always_ready
    ready_seconds: float = 30.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 3.0
    death_signal: signal.Signals = signal.SIGKILL
    identity: Identity = "same"
    first_env: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)


class ChildFailed(CliError):
    """A child ended or did not become ready. `lines` are the last it printed."""

    def __init__(self, name: str, why: str, lines: Sequence[str]) -> None:
        super().__init__("\n".join([f"{name} {why}", *(f"    {line}" for line in lines)]))
        self.name = name
        self.why = why
        self.lines = tuple(lines)


def describe_exit(code: int) -> str:
    """`ended with code 3` or `was killed by SIGKILL`."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


class _Output(asyncio.Protocol):
    """Takes what comes out of a pipe, line by line."""

    def __init__(self, splitter: LineSplitter, closed: "asyncio.Future[None]") -> None:
        self._splitter = splitter
        self._closed = closed

    def data_received(self, data: bytes) -> None:
        self._splitter.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._splitter.close()
        if not self._closed.done():
            self._closed.set_result(None)


class Child:
    """A spec and the process that runs it now, if any. `spawn` may be called again after the process has ended. What it prints goes
    into `log`, and to `lines` if there are any."""

    def __init__(self, spec: ChildSpec, log: ProcessLog, lines: Lines | None = None) -> None:
        self.spec = spec
        self.log = log
        self._lines = lines
        self.started_at = 0.0  # seconds since the epoch
        self._process: asyncio.subprocess.Process | None = None
        self._group: int | None = None
        self._pipes: list[tuple[asyncio.ReadTransport, asyncio.Future[None]]] = []

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def spawn(self) -> None:
        """Starts the process; must be called on the main thread, whose end is what the kernel calls the parent's death."""
        self._pipes = []
        ends: list[int] = []
        try:
            ends.append(await self._open_pipe("stdout"))
            ends.append(await self._open_pipe("stderr"))
            self._process = await self._execute(*ends)
            self._group = self._process.pid
        finally:
            for end in ends:
                os.close(end)
        self.started_at = time.time()

    async def _open_pipe(self, stream: Stream) -> int:
        """A pipe that is read here; returns the end to write to."""

        def on_line(text: bytes, cut_bytes: int) -> None:
            if self._lines is not None:
                self._lines.put(self.spec.name, self._group or 0, stream, text, cut_bytes)

        loop = asyncio.get_running_loop()
        closed: asyncio.Future[None] = loop.create_future()
        output = _Output(LineSplitter(self.log.write, on_line), closed)
        read_end, write_end = os.pipe()
        pipe, _ = await loop.connect_read_pipe(lambda: output, os.fdopen(read_end, "rb", buffering=0))
        self._pipes.append((pipe, closed))
        return write_end

    async def _execute(self, stdout: int, stderr: int) -> asyncio.subprocess.Process:
        spec = self.spec
        launcher = (sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(spec.death_signal)))
        return await asyncio.create_subprocess_exec(
            *launcher,
            spec.identity,
            *spec.argv,
            env={**spec.env, **(spec.first_env if self._process is None else {})},
            cwd=spec.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )

    async def wait(self) -> int:
        """Waits for the end and for the last lines of output; returns the exit code (negative: the signal)."""
        code = await self._started().wait()
        self.kill()  # what the leader has left behind
        self._group = None
        if self._pipes:
            await asyncio.wait([closed for _, closed in self._pipes], timeout=DRAIN_SECONDS)
            for pipe, _ in self._pipes:
                pipe.close()
        return code

    async def wait_ready(self, poll_seconds: float = 0.02) -> None:
        """Asks the probe until it says yes. Raises ChildFailed when the process ends first or the time is up."""
        deadline = time.monotonic() + self.spec.ready_seconds
        while not await self.spec.ready():
            if self.pid is None:
                raise ChildFailed(self.spec.name, describe_exit(await self.wait()), self.log.last_lines())
            if time.monotonic() > deadline:
                why = f"was not ready within {self.spec.ready_seconds:.0f} s"
                raise ChildFailed(self.spec.name, why, self.log.last_lines())
            await asyncio.sleep(poll_seconds)
            poll_seconds = min(poll_seconds * 1.5, 0.25)

    async def stop(self, seconds: float | None = None) -> bool:
        """Stops the process, by SIGKILL to its whole group after `seconds`; True if it went by itself in time."""
        process = self._process
        if process is None:
            return True
        orderly = True
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(self.spec.stop_signal)
            orderly = await self._ends_within(self.spec.stop_seconds if seconds is None else seconds)
        self.kill()
        await self._ends_within(KILL_SECONDS)
        return orderly

    def kill(self) -> None:
        """Sends SIGKILL to the process and its group, unless they have ended (the number may be another's by then)."""
        if self._group is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)

    async def _ends_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.spec.name} was never started: this is a bug")
        return self._process


async def run_to_end(spec: ChildSpec, logs: Path) -> None:
    """Runs a program that ends by itself. Raises ChildFailed, with what it printed, unless it ends with code 0."""
    log = ProcessLog(logs / f"{spec.name}.log")
    child = Child(spec, log)
    try:
        await child.spawn()
        code = await child.wait()
    finally:
        await child.stop(0)
        log.close()
    if code != 0:
        raise ChildFailed(spec.name, describe_exit(code), log.last_lines())
