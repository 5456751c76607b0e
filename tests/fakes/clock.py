"""A clock that stands still until a test turns it."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

START = datetime(2026, 1, 1, tzinfo=UTC)
# Turns of the event loop given to whoever wakes, so that short chains of awaits finish before time moves on.
TURNS = 20


class ManualClock:
    """Implements `mesh.clock.Clock`. Time moves only in `advance`; sleepers wake in the order of their due times."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = timedelta()
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> datetime:
        """The turned time, UTC."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Seconds turned so far."""
        return self._elapsed.total_seconds()

    async def sleep(self, duration: timedelta) -> None:
        """Waits until `advance` has passed the due time."""
        if duration <= timedelta():
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + duration, next(self._order), future))
        await future

    @property
    def sleeping(self) -> int:
        """How many tasks wait."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def advance(self, duration: timedelta) -> None:
        """Turns the clock, stopping at every due time on the way so that woken tasks see the time they asked for."""
        end = self._elapsed + duration
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self._elapsed = due
            future.set_result(None)
            await settle()
        self._elapsed = end
        await settle()


async def settle() -> None:
    """Lets every ready task run for a few turns of the event loop."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
