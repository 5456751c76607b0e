"""Clears away what is over: ended sessions, forgotten counts, lapsed request ids. Any number of replicas may do it side by side."""

from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError
from services.authentication.store.postgres import PostgresStore

INTERVAL: Final = timedelta(hours=1)


class Housekeeping:
    """Prunes the store every hour."""

    def __init__(self, store: PostgresStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Prune until cancelled."""
        while True:
            try:
                await self._store.prune(self._clock.now())
            except MeshError as error:
                logger.bind(reason=error.reason).warning("store not pruned")
            await self._clock.sleep(INTERVAL)
