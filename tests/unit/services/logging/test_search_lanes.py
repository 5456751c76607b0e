"""Lanes for searches: few run, some wait, others are told at once, and none outlives its time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from mesh.clock import SystemClock
from mesh.context import background_call
from mesh.errors import DeadlineExceeded, ResourceExhausted
from services.logging.servicers.search_lanes import WAITING_PER_LANE, SearchLanes, SearchRules


class Searches:
    """Searches that run until told to end."""

    def __init__(self, lanes: SearchLanes) -> None:
        self._lanes = lanes
        self.running: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, *, begun: bool = False) -> None:
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._search(name, begun))
        await settled()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await settled()

    async def _search(self, name: str, begun: bool) -> None:
        async with self._lanes.lane(begun=begun):
            self.running.append(name)
            await self.ends[name].wait()
            self.running.remove(name)


async def settled() -> None:
    """Everything that can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def searches(count: int, seconds: float = 60) -> AsyncIterator[Searches]:
    made = Searches(SearchLanes(lambda: SearchRules(count, seconds), SystemClock()))
    try:
        yield made
    finally:
        for task in made.tasks.values():
            task.cancel()
        await asyncio.gather(*made.tasks.values(), return_exceptions=True)


async def test_as_many_run_as_there_are_lanes_and_others_take_their_turn() -> None:
    """In the order in which they came."""
    async with searches(2) as some:
        for name in "abcd":
            await some.start(name)
        assert some.running == ["a", "b"]
        await some.end("a")
        assert some.running == ["b", "c"]
        await some.end("c")
        assert some.running == ["b", "d"]


async def test_beyond_the_queue_a_search_is_refused_and_an_export_that_began_waits() -> None:
    """With a hint when to come back; what was let in is not thrown out in the middle."""
    async with searches(1) as some:
        for number in range(1 + WAITING_PER_LANE):
            await some.start(str(number))
        await some.start("refused")
        with pytest.raises(ResourceExhausted) as refused:
            await some.tasks["refused"]
        assert refused.value.reason == "OVERLOADED"
        assert refused.value.retry_after is not None
        await some.start("page", begun=True)
        for number in range(1 + WAITING_PER_LANE):
            await some.end(str(number))
        assert some.running == ["page"]


async def test_whoever_gives_up_waiting_leaves_no_hole() -> None:
    """Neither before its turn nor at the very moment it comes."""
    async with searches(1) as some:
        for name in "abc":
            await some.start(name)
        some.tasks["b"].cancel()
        await settled()
        await some.end("a")
        assert some.running == ["c"]
        await some.start("d")
        some.ends["c"].set()
        await asyncio.sleep(0)
        some.tasks["d"].cancel()
        await settled()
        await some.start("e")
        assert some.running == ["e"]


async def test_a_turn_that_does_not_come_in_time_is_an_overload() -> None:
    """Nothing was searched, so a shorter range would not help."""
    async with searches(1, seconds=0.01) as some:
        await some.start("a")
        await some.start("b")
        with pytest.raises(ResourceExhausted):
            await some.tasks["b"]


async def test_a_search_has_no_more_time_than_its_caller() -> None:
    """An answer that comes after the deadline is work for nothing."""
    clock = SystemClock()
    lanes = SearchLanes(lambda: SearchRules(1, 10), clock)
    async with AsyncExitStack() as stack:
        assert await stack.enter_async_context(lanes.lane()) == 10
    with background_call("test") as call:
        call.deadline = clock.monotonic() + 3
        async with lanes.lane() as seconds:
            assert 0 < seconds < 3
        call.deadline = clock.monotonic() - 1
        async with lanes.lane() as seconds:
            assert seconds == 0


async def test_a_search_that_took_too_long_is_told_what_helps() -> None:
    """What the database says of itself helps nobody."""
    lanes = SearchLanes(lambda: SearchRules(1, 10), SystemClock())
    with pytest.raises(DeadlineExceeded, match="within 10 s; a shorter time range or more filters help"):
        async with lanes.lane():
            raise DeadlineExceeded("DEADLINE_TOO_SHORT", "the database did not finish in time")
    async with lanes.lane():
        pass
