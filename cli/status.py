"""`vivesphere status` and `vivesphere down`: asking about, and ending, the supervisor of a data directory."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from cli.layout import DataDir
from cli.state import ChildState, State, read_state, running_pid

MiB = 1024 * 1024
DOWN_SECONDS = 15.0  # the ten that stopping may take, and some


@dataclass(frozen=True, slots=True)
class ProcessLine:
    """One process as shown by `status`. `memory_mib` is None when the process is gone or cannot be seen."""

    name: str
    pid: int | None
    uptime_seconds: float
    memory_mib: float | None
    ports: Sequence[str]


def process_lines(state: State, now: float | None = None) -> list[ProcessLine]:
    """What runs, supervisor first."""
    moment = time.time() if now is None else now
    supervisor = ChildState("supervisor", int(state.supervisor["pid"]), state.supervisor["started"], {})
    return [_line(child, moment) for child in (supervisor, *state.children)]


def _line(child: ChildState, now: float) -> ProcessLine:
    memory: float | None = None
    if child.pid is not None:
        try:
            memory = psutil.Process(child.pid).memory_info().rss / MiB
        except psutil.Error:
            memory = None
    ports = [f"{name} {port}" if name != child.name else str(port) for name, port in child.ports.items()]
    return ProcessLine(child.name, child.pid, max(0.0, now - child.started), memory, ports)


def stop_running(data: DataDir) -> bool:
    """Asks the supervisor to stop and waits until it has; False when none runs. Raises TimeoutError or PermissionError."""
    pid = running_pid(data)
    if pid is None:
        return False
    try:
        os.kill(pid or int(read_state(data).supervisor["pid"]), signal.SIGTERM)
    except ProcessLookupError:
        return True
    deadline = time.monotonic() + DOWN_SECONDS
    while running_pid(data) is not None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} was asked to stop and still runs after {DOWN_SECONDS:.0f} s")
        time.sleep(0.05)
    return True
