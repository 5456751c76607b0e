"""Background work neither dies unseen nor refuses to die."""

import asyncio
import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Unavailable
from mesh.tasks import Backoff, TaskSet, first_of, pause_or_stop, periodic, set_within, unless
from tests.fakes.clock import ManualClock, settle

SECOND = timedelta(seconds=1)


async def test_a_task_that_dies_is_reported_and_makes_the_process_unhealthy() -> None:
    """A worker that is gone without a trace is found days later, by its absence."""
    deaths: list[tuple[str, str]] = []
    async with TaskSet(on_death=lambda name, error: deaths.append((name, str(error)))) as tasks:

        async def die() -> None:
            raise ValueError("why")

        tasks.spawn(die(), name="worker")
        await settle()
        assert deaths == [("worker", "why")]
        with pytest.raises(Unavailable, match="worker"):
            await tasks.check()


async def test_a_cancellation_from_inside_counts_as_death() -> None:
    """A library that cancels its own future ends our task as if we had wished it."""
    deaths: list[str] = []
    async with TaskSet(on_death=lambda name, _: deaths.append(name)) as tasks:

        async def cancelled_within() -> None:
            raise asyncio.CancelledError

        tasks.spawn(cancelled_within(), name="worker")
        await settle()
    assert deaths == ["worker"]


async def test_leaving_cancels_everything_and_waits_for_it() -> None:
    """After shutdown nothing may still write to what was closed."""
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    deaths: list[str] = []
    async with TaskSet(on_death=lambda name, _: deaths.append(name)) as tasks:
        for name in "abc":
            tasks.spawn(work(name), name=name)
        await settle()
    assert sorted(ended) == ["a", "b", "c"]
    assert deaths == []
    assert len(tasks) == 0


async def test_a_task_that_refuses_to_stop_does_not_hold_up_the_others() -> None:
    """Shutdown has a bound whatever a task does."""
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    tasks = TaskSet(stop_timeout=timedelta(milliseconds=10))
    task = tasks.spawn(stubborn(), name="stubborn")
    await settle()
    await tasks.close()
    assert not task.done()
    release.set()
    await task


async def test_a_closed_set_takes_no_more_tasks() -> None:
    """A task made during shutdown would never be waited for."""
    tasks = TaskSet()
    await tasks.close()

    async def late() -> None:
        return

    with pytest.raises(RuntimeError, match="late"):
        tasks.spawn(late(), name="late")


async def test_cancelling_the_owner_is_not_swallowed() -> None:
    """`async with` must hand the cancellation on."""

    async def owner() -> None:
        async with TaskSet() as tasks:
            tasks.spawn(asyncio.Event().wait(), name="waits")
            await asyncio.Event().wait()

    task = asyncio.ensure_future(owner())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_is_started_again_with_growing_pauses_until_it_returns() -> None:
    """A dependency that is away must not be hammered, and its return must not need a person."""
    clock = ManualClock()
    starts: list[float] = []

    async def work() -> None:
        starts.append(clock.monotonic())
        if len(starts) < 4:
            raise OSError("away")

    async with TaskSet(clock=clock) as tasks:
        task = tasks.spawn_loop(work, name="loop", backoff=Backoff(first=SECOND, most=timedelta(seconds=3)))
        await settle()
        with pytest.raises(Unavailable):
            await tasks.check()
        await clock.advance(timedelta(seconds=10))
        await task
    pauses = [later - sooner for sooner, later in itertools.pairwise(starts)]
    assert len(pauses) == 3
    for pause, full in zip(pauses, (1, 2, 3), strict=True):
        assert full / 2 <= pause <= full


@given(st.integers(min_value=0, max_value=10_000), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_a_pause_stays_within_its_bounds(failures: int, chance: float) -> None:
    """Neither a busy loop nor an endless wait, however long it has been failing."""
    backoff = Backoff(first=SECOND, most=timedelta(seconds=30))
    assert SECOND / 2 <= backoff.pause(failures, chance) <= timedelta(seconds=30)


async def test_periodic_work_runs_at_once_then_by_the_clock_until_stopped() -> None:
    """Housekeeping that begins only after a day never runs in a process that restarts nightly."""
    clock, stop, runs = ManualClock(), asyncio.Event(), 0

    async def work() -> None:
        nonlocal runs
        runs += 1

    async with TaskSet() as tasks:
        task = tasks.spawn(periodic(SECOND, work, stop, clock), name="periodic")
        await settle()
        assert runs == 1
        await clock.advance(3 * SECOND)
        assert runs == 4
        stop.set()
        await task
    assert runs == 4


async def test_waiting_ends_with_the_first_event_and_leaves_nothing_behind() -> None:
    """A helper that leaks a task per call fills the loop."""
    clock, stop, other = ManualClock(), asyncio.Event(), asyncio.Event()
    before = len(asyncio.all_tasks())
    other.set()
    await first_of(stop, other)
    stop.set()
    await pause_or_stop(timedelta(hours=1), stop, clock)
    assert len(asyncio.all_tasks()) == before


async def test_set_within_tells_an_event_from_the_end_of_patience() -> None:
    """One that is set already is not waited for, and one that is set meanwhile ends the wait."""
    event = asyncio.Event()
    assert not await set_within(event, timedelta(milliseconds=1))
    asyncio.get_running_loop().call_soon(event.set)
    assert await set_within(event, timedelta(hours=1))
    assert await set_within(event, timedelta(hours=1))


async def test_work_is_given_up_when_the_stop_comes_first() -> None:
    """A start that waits for what does not come would outlast the patience of whoever stops it."""
    stop, ended = asyncio.Event(), asyncio.Event()

    async def wait_in_vain() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    asyncio.get_running_loop().call_soon(stop.set)
    assert await unless(stop, wait_in_vain()) is None
    assert ended.is_set()


async def test_work_that_ends_before_the_stop_is_as_if_awaited() -> None:
    """Its result counts, and so does its failure."""

    async def give(value: int) -> int:
        return 12 // value

    before = len(asyncio.all_tasks())
    assert await unless(asyncio.Event(), give(3)) == 4
    with pytest.raises(ZeroDivisionError):
        await unless(asyncio.Event(), give(0))
    assert len(asyncio.all_tasks()) == before
