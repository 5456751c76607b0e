"""Reads the counters of posts when their time has come, in calls of up to 100 posts of one bot.

    due ─▶ taken (put off a little, so that no other replica reads them) ─▶ read ─▶ the next time, ever later
                                                                            └ X refused: later, when it says or in a quarter of an hour

Bots that are not ACTIVE are left out; their posts are due when they come back. Posts that are due soon are read along, since a call costs
the same for few as for many.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError
from services.bot_manager.domain.cadence import next_read
from services.bot_manager.store.ports import PublishedPart
from services.bot_manager.store.reading_times import PostgresReadingTimes
from services.bot_manager.x.port import METRICS_BATCH

TICK: Final = timedelta(seconds=15)
SOON: Final = timedelta(minutes=2)
LEASE: Final = timedelta(minutes=5)
PAUSE: Final = timedelta(minutes=15)
"""After a refusal that does not say how long it lasts."""
BOTS_A_LOOK: Final = 50


class Reading(Protocol):
    """See `statistics/fetcher.py`."""

    async def read(self, bot_id: str, parts: Sequence[PublishedPart]) -> int: ...


class Cadence:
    """`follow` gives how long a post is followed; nothing at all for no time."""

    def __init__(
        self,
        times: PostgresReadingTimes,
        fetcher: Reading,
        follow: Callable[[], timedelta],
        clock: Clock,
    ) -> None:
        self._times = times
        self._fetcher = fetcher
        self._follow = follow
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. Survives the loss of the database and of X."""
        while True:
            try:
                while await self.step():
                    pass
            except MeshError as error:
                logger.bind(reason=error.reason).warning("statistics wait")
            await self._clock.sleep(TICK)

    async def step(self) -> int:
        """One call for each bot that has something due, at most 50 bots; how many posts were due. Raises Unavailable, DeadlineExceeded."""
        if not self._follow():
            return 0
        count = 0
        for bot_id in await self._times.bots_due(self._clock.now(), BOTS_A_LOOK):
            count += await self._read(bot_id)
        return count

    async def _read(self, bot_id: str) -> int:
        now = self._clock.now()
        parts = await self._times.take(bot_id, now, now + SOON, now + LEASE, METRICS_BATCH)
        if not parts:
            return 0
        try:
            await self._fetcher.read(bot_id, parts)
        except MeshError as error:
            again = self._clock.now() + (error.retry_after or PAUSE)
            logger.bind(bot_id=bot_id, reason=error.reason).warning("statistics put off")
            await self._times.put_off(bot_id, again)
            return len(parts)
        await self._times.plan([(part, self._next(part)) for part in parts])
        return len(parts)

    def _next(self, part: PublishedPart) -> datetime | None:
        return next_read(part.publish_time, self._clock.now(), self._follow())
