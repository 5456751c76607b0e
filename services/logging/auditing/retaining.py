"""Removes audit events whose retention is over, a day's worth at a time, each time with a signed tombstone that accounts for them.

The tombstone goes into the same transaction, and the database takes neither without the other. The newest event always stays, and so does
everything of the last 30 days, whatever the setting says.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.database import Database
from mesh.errors import MeshError
from services.logging.auditing.signing import Signer
from services.logging.domain.chain import CHAIN, ChainedEvent
from services.logging.domain.notes import Statement
from services.logging.store.audit import AuditStore
from services.logging.store.statements import StatementStore

INTERVAL: Final = timedelta(hours=1)
DATABASE_AWAY: Final = timedelta(seconds=30)
MOST: Final = 5_000
"""Events a transaction; more that are due get a tombstone of their own."""
FEW: Final = timedelta(days=1)
"""Nothing happens before the oldest event is overdue by this, so that there is a tombstone a day and not one an hour."""
FLOOR: Final = timedelta(days=30)


class TrailRetention:
    """The loop. `days` tells the setting; 0: nothing is removed."""

    def __init__(
        self,
        database: Database,
        events: AuditStore,
        statements: StatementStore,
        signer: Signer,
        clock: Clock,
        days: Callable[[], int],
        chain: str = CHAIN,
    ) -> None:
        self._chain = chain
        self._database = database
        self._events = events
        self._statements = statements
        self._signer = signer
        self._clock = clock
        self._days = days

    async def run(self) -> None:
        """Remove what is due, every hour until cancelled."""
        while True:
            pause = INTERVAL
            try:
                while await self.remove_due() == MOST:
                    continue
            except MeshError as error:
                logger.bind(reason=error.reason).warning("audit retention waits")
                pause = DATABASE_AWAY
            await self._clock.sleep(pause)

    async def remove_due(self) -> int:
        """Remove at most `MOST` events. Returns how many they were."""
        days = self._days()
        if days == 0:
            return 0
        now = self._clock.now()
        limit = now - max(timedelta(days=days), FLOOR)
        oldest = await self._events.read(self._chain, -1, MOST + 1)
        if not oldest or oldest[0].event.time > limit - FEW:
            return 0
        last = _last_due(oldest[:-1], limit)
        if last is None:
            return 0
        tombstone = await self._signer.sign(
            Statement(self._chain, last.sequence, last.hash, now, removed=True)
        )
        async with self._database.transaction(concludes=False) as connection:
            removed = await self._statements.remove(connection, tombstone)
        logger.bind(last_sequence=last.sequence, removed=removed).info("audit events removed")
        return removed


def _last_due(events: list[ChainedEvent], limit: datetime) -> ChainedEvent | None:
    """The last of the events from the beginning on that are all too old."""
    due = None
    for event in events:
        if event.event.time > limit:
            break
        due = event
    return due
