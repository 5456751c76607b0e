"""From JetStream into the store: batches of log records and single audit records, each stored once, acknowledged after the commit.

    messages → records (judged, converted, redacted) → one transaction for some thousands → acknowledged

What cannot be stored is kept in `rejected` with the reason and costs its neighbours nothing. A message that comes again is harmless:
records are known by their ids. While the database is away the messages wait in the stream, and the consumer asks again.
"""

from collections.abc import Sequence
from datetime import timedelta

from loguru import logger

from mesh.clock import Clock
from mesh.database import Database
from mesh.errors import Aborted, MeshError
from mesh.messaging import Message, Retry
from services.logging.domain.chain import AuditEvent
from services.logging.reading import Placed, read_audit, read_batch
from services.logging.store.audit import AuditStore
from services.logging.store.writing import Poison, RecordWriter

DATABASE_AWAY = timedelta(seconds=2)
AT_ONCE = timedelta()
MESSAGES = 16
"""Messages of LOGS handed over together: of those of our own sources, 200 records each."""
LINGER = timedelta(milliseconds=25)
LANES = 2
"""Handlers of LOGS at a time: one reads while PostgreSQL works for the other."""
RECORDS_A_TRANSACTION = 4_000


class Ingest:
    """Handlers for the two streams."""

    def __init__(self, database: Database, records: RecordWriter, audit: AuditStore, clock: Clock) -> None:
        self._database = database
        self._records = records
        self._audit = audit
        self._clock = clock

    async def logs(self, messages: Sequence[Message]) -> None:
        """Store batches of records. Raises Retry while the database is away."""
        good: list[Placed] = []
        bad: list[Poison] = []
        for message in messages:
            async for item in read_batch(message, self._clock):
                if isinstance(item, Poison):
                    bad.append(item)
                else:
                    good.append(item)
            if len(good) >= RECORDS_A_TRANSACTION:
                await self._store(good, bad)
                good, bad = [], []
        if good or bad:
            await self._store(good, bad)

    async def audit(self, messages: Sequence[Message]) -> None:
        """Chain audit records and keep them with the other records too. Raises Retry while the database is away."""
        events: list[AuditEvent] = []
        records: list[Placed] = []
        bad: list[Poison] = []
        for message in messages:
            item = read_audit(message, self._clock)
            if isinstance(item, Poison):
                bad.append(item)
            else:
                events.append(item[0])
                records.append(item[1])
        await self._store(records, bad, events)

    async def _store(
        self, good: Sequence[Placed], bad: Sequence[Poison], events: Sequence[AuditEvent] = ()
    ) -> None:
        """One transaction. Raises Retry."""
        try:
            async with self._database.transaction() as connection:
                if events:
                    await self._audit.append(connection, events)
                await self._records.reject(connection, bad)
                refused = await self._records.add(connection, [item.record for item in good])
                if refused:
                    reasons = {refusal.record.id: refusal.reason for refusal in refused}
                    poison = [
                        item.poison(f"refused by the database: {reasons[item.record.id]}")
                        for item in good
                        if item.record.id in reasons
                    ]
                    await self._records.reject(connection, poison)
        except Aborted:
            raise Retry(AT_ONCE) from None
        except MeshError as error:
            logger.bind(reason=error.reason).warning("records wait for the database")
            raise Retry(DATABASE_AWAY) from None
