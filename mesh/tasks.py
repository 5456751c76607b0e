"""The one place where background tasks are made: named, guarded, cancelled together within a time limit.

A task that ends in an exception, or is cancelled by nobody we know, is logged, remembered for health (`TaskSet.check`) and told to
`on_death`; it never disappears silently. `spawn_loop` starts it again after an exponentially growing, jittered pause instead.
Leaving the set cancels all of its tasks and waits for them; one that does not stop in time is named in the log and left behind.
Cancellation is never swallowed here. Results are not collected: a caller that needs one awaits the returned task.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from loguru import logger

from mesh.clock import Clock, SystemClock
from mesh.errors import Unavailable

STOP_TIMEOUT = timedelta(seconds=10)
T = TypeVar("T")
OnDeath = Callable[[str, BaseException], None]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts: `first`, doubling up to `most`, each shortened by up to half at random so that replicas spread."""

    first: timedelta = timedelta(milliseconds=200)
    most: timedelta = timedelta(seconds=30)

    def pause(self, failures: int, chance: float | None = None) -> timedelta:
        """The pause after the given number of failures in a row, from 1. `chance` in [0, 1) replaces the random number."""
        full = min(self.most, self.first * (1 << min(max(failures, 1) - 1, 30)))
        share = random.random() if chance is None else chance  # noqa: S311 - spreads load, guards nothing
        return full * (1 - share / 2)


class TaskSet:
    """Background tasks that live and die together. Use as `async with`; belongs to one event loop."""

    def __init__(
        self,
        *,
        stop_timeout: timedelta = STOP_TIMEOUT,
        on_death: OnDeath | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._stop_timeout = stop_timeout
        self._on_death = on_death
        self._clock = clock or SystemClock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._dead: dict[str, str] = {}
        self._closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run `coroutine` in the background. Raises RuntimeError, and closes the coroutine, once the set is closing."""
        if self._closing:
            coroutine.close()
            raise RuntimeError(f"task {name!r} came after its set was closed")
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def spawn_loop(
        self,
        factory: Callable[[], Coroutine[Any, Any, None]],
        *,
        name: str,
        backoff: Backoff | None = None,
    ) -> asyncio.Task[None]:
        """Run `factory()` again and again while it fails; a normal return ends it. The pause starts small again after a long run."""
        return self.spawn(self._again(factory, name, backoff or Backoff()), name=name)

    async def check(self) -> None:
        """For health: raises Unavailable while a task that should be running is dead or waits to be started again."""
        if self._dead:
            names = ", ".join(sorted(self._dead))
            raise Unavailable("INTERNAL", f"background work has stopped: {names}", metadata=dict(self._dead))

    async def close(self) -> None:
        """Cancel every task and wait for it, at most `stop_timeout`. Further tasks are refused."""
        self._closing = True
        pending = self._tasks - {asyncio.current_task()}
        for task in pending:
            task.cancel()
        if pending:
            _, pending = await asyncio.wait(pending, timeout=self._stop_timeout.total_seconds())
        for task in pending:
            logger.bind(task=task.get_name()).error("task did not stop")

    async def _again(
        self, factory: Callable[[], Coroutine[Any, Any, None]], name: str, backoff: Backoff
    ) -> None:
        failures = 0
        while True:
            started = self._clock.monotonic()
            revival = asyncio.get_running_loop().call_later(1, self._dead.pop, name, None)
            try:
                await factory()
                return
            except Exception as error:
                lived = self._clock.monotonic() - started
                failures = 1 if lived > backoff.most.total_seconds() else failures + 1
                pause = backoff.pause(failures)
                self._report(name, error, restart_seconds=round(pause.total_seconds(), 3))
            finally:
                revival.cancel()
            await self._clock.sleep(pause)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            # A cancellation that nobody asked for comes from inside, for example from a library's own cancelled future.
            if not self._closing and not task.cancelling():
                self._report(task.get_name(), asyncio.CancelledError("nobody asked for it"))
            return
        error = task.exception()
        if error is not None:
            self._report(task.get_name(), error)

    def _report(self, name: str, error: BaseException, **fields: object) -> None:
        self._dead[name] = type(error).__name__
        logger.opt(exception=error).bind(task=name, error_type=type(error).__name__, **fields).error(
            "task died"
        )
        if self._on_death is not None:
            self._on_death(name, error)


async def periodic(
    interval: timedelta,
    function: Callable[[], Awaitable[None]],
    stop: asyncio.Event | None = None,
    clock: Clock | None = None,
) -> None:
    """Call `function` now and then `interval` after each return, until `stop` is set. What it raises ends the loop."""
    ticker = clock or SystemClock()
    while stop is None or not stop.is_set():
        await function()
        await pause_or_stop(interval, stop, ticker)


async def pause_or_stop(interval: timedelta, stop: asyncio.Event | None, clock: Clock) -> None:
    """Return after `interval` or as soon as `stop` is set, whichever comes first."""
    if stop is None:
        await clock.sleep(interval)
        return
    await _first(stop.wait(), clock.sleep(interval))


async def set_within(event: asyncio.Event, limit: timedelta) -> bool:
    """Return as soon as the event is set, or after `limit` of real time; whether it was set."""
    try:
        async with asyncio.timeout(limit.total_seconds()):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def together(*loops: Coroutine[Any, Any, None]) -> None:
    """Run loops until cancelled; the failure of one ends the others and is raised as an ExceptionGroup."""
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(loop)


async def first_of(*events: asyncio.Event) -> None:
    """Return as soon as one of the events is set."""
    if not any(event.is_set() for event in events):
        await _first(*(event.wait() for event in events))


def cancellations() -> int:
    """How often the running task was told to end. More than before means that it was meanwhile, though what it awaited may have kept
    that for itself."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None when `stop` is set before it has one: then `work` is cancelled, and has ended on return
    unless that takes it longer than STOP_TIMEOUT."""
    working = asyncio.get_running_loop().create_task(work)
    try:
        await _first(asyncio.wait([working]), stop.wait())
        return working.result() if working.done() else None
    finally:
        working.cancel()
        await asyncio.wait([working], timeout=STOP_TIMEOUT.total_seconds())


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.get_running_loop().create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
