"""Makes posts of the occurrences of schedules, some time ahead.

    look → posts that were too late are MISSED → one schedule after the other is locked, decided a batch, moved on → ended ones COMPLETED

A schedule is expanded in one transaction that writes its occurrences, their posts with story, and its cursor, so that a crash loses
none and doubles none. Any number of replicas do this side by side; schedules that another expands this moment are skipped. What keeps
an occurrence from making a second post for ever is its row (`store/tables/recurring.py`).

A schedule that cannot be expanded rests for a while and stops no other. An occurrence whose content is refused (policy, template, lost
media) is skipped and the schedule says why: a post that is known to fail helps nobody at its time, and the next may be well.

In the first look of a process instants are compared with the zones' rules of today: what differs is made anew.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.context import background_call
from mesh.database import Database
from mesh.errors import MeshError
from mesh.tasks import pause_or_stop
from services.bot_manager.schedules.expansion import Expansion
from services.bot_manager.schedules.realigning import realign
from services.bot_manager.schedules.settings import Scheduling
from services.bot_manager.store.occurrence_posts import miss_late
from services.bot_manager.store.occurrences import claim_schedule, complete, rest

FRESH: Final = timedelta(minutes=1)
"""How long before its time content is taken that changes meanwhile: time enough for the post to be made and claimed."""
REST: Final = timedelta(minutes=1)
BATCH: Final = 200
FIRST_LOOK: Final = timedelta(seconds=10)
"""How long publishing waits for the first look, so that posts from before a stop are not sent late against their schedule's policy."""


class Expander:
    """`settings` are those of the moment, `wake` tells the publisher that posts may be due."""

    def __init__(
        self,
        database: Database,
        expansion: Expansion,
        settings: Callable[[], Scheduling],
        clock: Clock,
        instance: str,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._expansion = expansion
        self._settings = settings
        self._clock = clock
        self._instance = instance
        self._wake = wake
        self._woken = asyncio.Event()
        self._started = clock.monotonic()
        self._has_looked = False

    def wake(self) -> None:
        """Look now: a schedule was made or changed, or a bot became active."""
        self._woken.set()

    def ready(self) -> bool:
        """Whether what was missed before this process began is settled, or has had its time."""
        waited = self._clock.monotonic() - self._started
        return self._has_looked or waited > FIRST_LOOK.total_seconds()

    async def run(self) -> None:
        """Expand until cancelled."""
        while True:
            self._woken.clear()
            try:
                with background_call("bot_manager/schedule"):
                    await (self.look() if self._has_looked else self.begin())
            except MeshError as error:
                logger.bind(reason=error.reason).warning("schedules wait")
            pause = timedelta(seconds=self._settings().tick)
            await pause_or_stop(pause, self._woken, self._clock)

    async def begin(self) -> None:
        """The first look of a process."""
        await realign(self._database, self._clock.now(), self._instance)
        await self.look()

    async def look(self) -> None:
        """Do all there is to do now. Raises MeshError if the database is away."""
        while len(await self._miss_late()) == BATCH:
            pass
        made = 0
        while (count := await self.step()) is not None:
            made += count
        async with self._database.transaction(concludes=False) as connection:
            await complete(connection, self._clock.now())
        self._has_looked = True
        if made:
            self._wake()

    async def step(self) -> int | None:
        """Expand one schedule by a batch: how many posts that made; None if no schedule has anything to decide."""
        schedule_id = ""
        settings = self._settings()
        try:
            async with self._database.transaction(concludes=False) as connection:
                now = self._clock.now()
                horizon = max(timedelta(seconds=settings.horizon), FRESH)
                schedule = await claim_schedule(connection, now, horizon, FRESH)
                if schedule is None:
                    return None
                schedule_id = schedule.id
                lead = FRESH if schedule.is_fresh else horizon
                grace = schedule.misfire_grace
                if grace is None:
                    grace = timedelta(seconds=settings.misfire_grace)
                return await self._expansion.expand(connection, schedule, now, lead, grace)
        except Exception as error:
            if not schedule_id:
                raise
            await self._let_rest(schedule_id, error)
            return 0

    async def _let_rest(self, schedule_id: str, error: Exception) -> None:
        """Nothing of the expansion is stored; the schedule is tried again later. Raises MeshError if the database is away."""
        reason, why = type(error).__name__, "internal error"
        if isinstance(error, MeshError):
            reason, why = error.reason, error.message
        logger.opt(exception=error).bind(schedule_id=schedule_id, reason=reason).error(
            "schedule not expanded"
        )
        async with self._database.transaction(concludes=False) as connection:
            message = f"it could not be expanded and is tried again soon: {why}"
            await rest(connection, schedule_id, self._clock.now() + REST, message)

    async def _miss_late(self) -> list[tuple[str, str]]:
        grace = timedelta(seconds=self._settings().misfire_grace)
        async with self._database.transaction(concludes=False) as connection:
            missed = await miss_late(connection, self._clock.now(), grace, BATCH, self._instance)
        for post_id, schedule_id in missed:
            logger.bind(post_id=post_id, schedule_id=schedule_id).warning("occurrence missed")
        return missed
