"""What keeps the store in shape while records come: partitions ahead of time, retention, and words merged into the text indexes.

Every replica runs all of it. Making a partition twice is making it once, and removing is tried under a lock.
"""

from collections.abc import Callable
from datetime import timedelta

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError
from services.logging.domain.retention import Retention
from services.logging.store.partitions import Partitions
from services.logging.store.retention import Pruning

INTERVAL = timedelta(hours=1)
MERGE_INTERVAL = timedelta(seconds=5)
"""Merging little at a time costs PostgreSQL twice the work: a list of words is sorted into the index as a whole."""
WHEN_IDLE = timedelta(seconds=10)
AFTER_FAILURE = timedelta(seconds=5)


class Housekeeping:
    """Loops for a service's life; each runs until cancelled."""

    def __init__(
        self, partitions: Partitions, pruning: Pruning, retention: Callable[[], Retention], clock: Clock
    ) -> None:
        self._partitions = partitions
        self._pruning = pruning
        self._retention = retention
        self._clock = clock

    async def run(self) -> None:
        """Make the partitions of today and the next days and remove what is due, now and once an hour."""
        while True:
            await self._clock.sleep(INTERVAL if await self.once() else AFTER_FAILURE)

    async def once(self) -> bool:
        """One round; whether all of it was done."""
        now, retention = self._clock.now(), self._retention()
        try:
            made = await self._partitions.ensure_ahead(retention.coming(now))
            dropped = await self._pruning.prune(retention, now)
        except MeshError as error:
            logger.bind(reason=error.reason).warning("housekeeping waits")
            return False
        if dropped:
            logger.bind(partitions=dropped).info("old records dropped")
        return made

    async def merge_words(self) -> None:
        """Merge new words into today's text indexes in the background: otherwise a writer has to when there are many."""
        while True:
            await self._clock.sleep(await self._merge())

    async def _merge(self) -> timedelta:
        """How long until the next time."""
        try:
            merged = await self._partitions.merge_words(self._clock.now().date())
        except MeshError as error:
            logger.bind(reason=error.reason).debug("words not merged")
            return WHEN_IDLE
        return MERGE_INTERVAL if merged else WHEN_IDLE
