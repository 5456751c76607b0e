"""Keeps log records: many at a time, each once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.ids import new_id
from services.logging.domain.records import Record
from services.logging.store.tables import records, rejected

ROWS_A_STATEMENT = 500


@dataclass(frozen=True, slots=True)
class Poison:
    """A record or message that cannot be stored, with what it was, so that nothing disappears without a trace."""

    subject: str
    message_id: str
    position: int
    reason: str
    payload: bytes


class RecordStore(Protocol):
    """What the service needs of a store of records."""

    async def add(self, connection: AsyncConnection, batch: Sequence[Record]) -> None:
        """Add records; those that are there already stay as they are."""

    async def reject(self, connection: AsyncConnection, poison: Sequence[Poison]) -> None:
        """Keep what cannot be stored, with the reason."""

    async def ensure_days(self, days: Sequence[date]) -> None:
        """Make the partitions of these days."""


class PostgresRecordStore:
    """RecordStore on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, connection: AsyncConnection, batch: Sequence[Record]) -> None:
        """See RecordStore."""
        for start in range(0, len(batch), ROWS_A_STATEMENT):
            rows = [asdict(record) for record in batch[start : start + ROWS_A_STATEMENT]]
            await connection.execute(insert(records).values(rows).on_conflict_do_nothing())

    async def reject(self, connection: AsyncConnection, poison: Sequence[Poison]) -> None:
        """See RecordStore."""
        if poison:
            await connection.execute(insert(rejected).values([{"id": new_id(), **asdict(p)} for p in poison]))

    async def ensure_days(self, days: Sequence[date]) -> None:
        """See RecordStore."""
        async with self._database.transaction() as connection:
            for day in days:
                await connection.execute(text("SELECT ensure_day(:day)"), {"day": day})
