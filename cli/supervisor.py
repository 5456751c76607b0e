"""Starts children in order, keeps them running, and stops them in the opposite order.

    start(1, a, b)  runs a and b side by side and returns when both are ready; the number is the stage they belong to
    a child ends    reported, then started again after a delay that doubles from half a second to half a minute and starts over
                    when the child has run for a minute; its dependants are left alone, since every part of the mesh reconnects
    stop()          highest stage first, each child with its own budget, all within ten seconds; then SIGKILL

A child that ends before it was ever ready is not restarted: `start` raises ChildFailed with its last lines, because the cause
is a mistake a person must see. The supervisor keeps no file; `on_change` lets the caller write its state.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cli.child import Child, ChildFailed, ChildSpec, describe_exit
from cli.line_redaction import LineRedaction
from cli.processlog import ProcessLog
from cli.terminal import Lines
from mesh.tasks import TaskSet

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
STABLE_SECONDS = 60.0
STOP_SECONDS = 9.0  # of the ten promised; the last second belongs to SIGKILL and the caller

EventKind = Literal["starting", "ready", "crashed", "failed", "stopping", "stopped", "killed"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person may want to see: what happened to which child, with detail for `crashed` and `failed`."""

    kind: EventKind
    name: str
    detail: str = ""
    lines: Sequence[str] = ()


def restart_delay(crashes: int) -> float:
    """Seconds to wait before the next start after so many crashes in a row (at least one)."""
    return float(min(FIRST_DELAY_SECONDS * 2 ** min(crashes - 1, 16), LONGEST_DELAY_SECONDS))


class Supervisor:
    """Owns the children of one run. Use from one event loop on the main thread; `stop` must be called in the end."""

    def __init__(
        self,
        logs: Path,
        report: Callable[[Event], None] = lambda event: None,
        on_change: Callable[[], None] = lambda: None,
        lines: Lines | None = None,
    ) -> None:
        self._logs = logs
        self._report = report
        self._on_change = on_change
        self._lines = lines
        self._stages: dict[int, list[Child]] = {}
        self._keepers = TaskSet()
        self._keeping: dict[str, asyncio.Task[None]] = {}

    @property
    def children(self) -> list[Child]:
        """All children, lowest stage first."""
        return [child for stage in sorted(self._stages) for child in self._stages[stage]]

    async def start(self, stage: int, *specs: ChildSpec) -> None:
        """Starts `specs` side by side in `stage`. Raises ChildFailed; what has started so far is stopped by `stop`."""
        group = [Child(spec, self._log_of(spec), self._lines) for spec in specs]
        self._stages.setdefault(stage, []).extend(group)
        try:
            async with asyncio.TaskGroup() as tasks:
                for child in group:
                    tasks.create_task(self._first_start(child), name=f"start {child.spec.name}")
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _log_of(self, spec: ChildSpec) -> ProcessLog:
        """Where nobody captures lines, as in tests that look for leaks, files show what was printed as it was."""
        path = self._logs / f"{spec.name}.log"
        return ProcessLog(path) if self._lines is None else ProcessLog(path, clean=LineRedaction().clean)

    async def _first_start(self, child: Child) -> None:
        self._report(Event("starting", child.spec.name))
        await child.spawn()
        self._on_change()
        await child.wait_ready()
        self._report(Event("ready", child.spec.name))
        self._watch(child)
        self._on_change()

    def _watch(self, child: Child) -> None:
        name = child.spec.name
        self._keeping[name] = self._keepers.spawn(self._keep(child), name=f"keep {name}")

    @asynccontextmanager
    async def without(self, name: str) -> AsyncIterator[None]:
        """Take a child down for the length of the block and start it again after it. Raises KeyError for an unknown name."""
        child = {child.spec.name: child for child in self.children}[name]
        keeper = self._keeping.pop(name)
        keeper.cancel()
        await asyncio.wait([keeper])
        await child.stop(child.spec.stop_seconds)
        try:
            yield
        finally:
            await child.spawn()
            await child.wait_ready()
            self._watch(child)
            self._on_change()

    async def _keep(self, child: Child) -> None:
        crashes = 0
        while True:
            code = await child.wait()
            crashes = 1 if time.time() - child.started_at > STABLE_SECONDS else crashes + 1
            delay = restart_delay(crashes)
            detail = f"{describe_exit(code)}, starts again in {delay:g} s"
            self._report(Event("crashed", child.spec.name, detail, child.log.last_lines()))
            self._on_change()
            await asyncio.sleep(delay)
            await self._restart(child)
            self._on_change()

    async def _restart(self, child: Child) -> None:
        self._report(Event("starting", child.spec.name))
        try:
            await child.spawn()
            self._on_change()
            await child.wait_ready()
        except ChildFailed as error:
            self._report(Event("failed", child.spec.name, error.why, error.lines))
            await child.stop()
        except OSError as error:
            self._report(Event("failed", child.spec.name, f"could not be started: {error.strerror}"))
        else:
            self._report(Event("ready", child.spec.name))

    async def stop(self) -> None:
        """Ends every child, highest stage first, within STOP_SECONDS and a SIGKILL; safe to call twice."""
        await self._keepers.close()
        deadline = time.monotonic() + STOP_SECONDS
        for stage in sorted(self._stages, reverse=True):
            await asyncio.gather(*(self._stop(child, deadline) for child in self._stages[stage]))
        self._stages.clear()
        self._on_change()

    def kill(self) -> None:
        """Sends SIGKILL to every child, for a person who cannot wait for `stop`, which then ends soon."""
        for child in self.children:
            child.kill()

    async def _stop(self, child: Child, deadline: float) -> None:
        ran = child.pid is not None
        if ran:
            self._report(Event("stopping", child.spec.name))
        seconds = max(0.0, min(child.spec.stop_seconds, deadline - time.monotonic()))
        orderly = await child.stop(seconds)
        child.log.close()
        if ran:
            self._report(Event("stopped" if orderly else "killed", child.spec.name))
