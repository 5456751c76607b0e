"""Keeps the history as long as the operator wants it, and no longer.

Every replica runs the loop; an advisory lock lets one of them take a step at a time. Nobody waits for it: a step that is not taken now
is taken later.
"""

from collections.abc import Callable
from datetime import timedelta

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError
from services.configuration.domain.retention import Retention
from services.configuration.store.ports import Compaction

INTERVAL = timedelta(minutes=10)
BREATH = timedelta(milliseconds=100)
"""Between two steps, so that writers come in between."""


class Housekeeping:
    """Compacts the history. `retention` gives what is to be kept at the moment."""

    def __init__(self, compaction: Compaction, retention: Callable[[], Retention], clock: Clock) -> None:
        self._compaction = compaction
        self._retention = retention
        self._clock = clock

    async def run(self) -> None:
        """Step until there is nothing to do, then again in ten minutes, until cancelled."""
        while True:
            await self._clock.sleep(BREATH if await self._step() else INTERVAL)

    async def _step(self) -> bool:
        try:
            return await self._compaction.step(self._retention(), self._clock.now())
        except MeshError as error:
            logger.bind(reason=error.reason).warning("history not compacted")
            return False
