"""What runs on a data directory: a lock for the one supervisor, and a small JSON file for those who ask.

    {"supervisor": {"pid", "started"}, "ports": {name: port}, "addresses": {name: text},
     "children": [{"name", "pid", "started", "ports"}]}

Times are seconds since the epoch. The lock is the truth about whether a supervisor runs: the kernel lets go of it however its
holder ends. The ports stay in the file after the end, so that the next start can ask for the same.
"""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from cli.errors import CliError
from cli.layout import DataDir, make_private_directory, write_private


class AlreadyRunning(CliError):
    """Another supervisor has the data directory; `pid` is its process id when it is known."""

    def __init__(self, root: Path, pid: int | None) -> None:
        process = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{process} already runs on {root}; `vivesphere status` shows it, `vivesphere down` stops it"
        )
        self.pid = pid


class Lock:
    """The exclusive right to run on a data directory, held from `with` to its end."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self._descriptor = -1

    def __enter__(self) -> "Lock":
        make_private_directory(self._data.root)
        self._descriptor = os.open(self._data.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read_pid(self._descriptor)
            self._close()
            raise AlreadyRunning(self._data.root, pid) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.ftruncate(self._descriptor, 0)
        self._close()

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


def running_pid(data: DataDir) -> int | None:
    """Process id of the supervisor that holds the directory now; None when nobody does. 0 when it is not known."""
    try:
        descriptor = os.open(data.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_pid(descriptor) or 0
    else:
        return None
    finally:
        os.close(descriptor)


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else None


@dataclass(frozen=True, slots=True)
class ChildState:
    """One process as it was at the last change; `pid` is None between a crash and the restart."""

    name: str
    pid: int | None
    started: float
    ports: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class State:
    """The content of `run/state.json`."""

    supervisor: Mapping[str, float] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    children: Sequence[ChildState] = ()


def write_state(data: DataDir, state: State) -> None:
    """Replaces the state file."""
    write_private(data.state, json.dumps(asdict(state), indent=1))


def read_state(data: DataDir) -> State:
    """The last written state; an empty one when there is none or it cannot be understood."""
    try:
        table: dict[str, Any] = json.loads(data.state.read_text(encoding="utf-8"))
        children = [ChildState(**child) for child in table.pop("children")]
        return State(**table, children=children)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return State()
