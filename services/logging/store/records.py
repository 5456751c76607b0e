"""Keeps log records: many at a time, each once, found by time and id."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select, and_, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.ids import new_id
from services.logging.domain.records import Filter, Position, Record
from services.logging.store.tables import records, rejected

ROWS_A_STATEMENT = 500
RECORD_FIELDS = tuple(field.name for field in fields(Record))


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

    async def find(self, wanted: Filter, after: Position | None, limit: int) -> list[Record]:
        """At most `limit` records in the filter's order, after the position."""

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

    async def find(self, wanted: Filter, after: Position | None, limit: int) -> list[Record]:
        """See RecordStore."""
        query = select_records(wanted, after).limit(limit)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [Record(**{name: row[name] for name in RECORD_FIELDS}) for row in rows]

    async def ensure_days(self, days: Sequence[date]) -> None:
        """See RecordStore."""
        async with self._database.transaction() as connection:
            for day in days:
                await connection.execute(text("SELECT ensure_day(:day)"), {"day": day})


def select_records(wanted: Filter, after: Position | None) -> Select[Any]:
    """What matches, in the filter's order, after the position."""
    key = tuple_(records.c.time, records.c.id)
    conditions = conditions_of(wanted)
    if after is not None:
        conditions.append(key > after if wanted.oldest_first else key < after)
    order = (records.c.time, records.c.id)
    query = select(records).where(and_(True, *conditions))
    return query.order_by(*(order if wanted.oldest_first else (column.desc() for column in order)))


def conditions_of(wanted: Filter) -> list[ColumnElement[bool]]:
    """What a record has to satisfy to match."""
    columns = records.c
    conditions: list[ColumnElement[bool]] = []
    if wanted.start_time is not None:
        conditions.append(columns.time >= wanted.start_time)
    if wanted.end_time is not None:
        conditions.append(columns.time < wanted.end_time)
    if wanted.categories:
        conditions.append(columns.category.in_(wanted.categories))
    if wanted.min_severity:
        conditions.append(columns.severity >= wanted.min_severity)
    for name in ("service", "actor", "bot_id", "request_id", "trace_id"):
        value = getattr(wanted, name)
        if value:
            conditions.append(columns[name] == value)
    if wanted.attributes:
        conditions.extend(
            columns.attributes[name].astext == value for name, value in wanted.attributes.items()
        )
    if wanted.text:
        words = func.websearch_to_tsquery("simple", wanted.text)
        conditions.append(func.to_tsvector("simple", columns.body).op("@@")(words))
    return conditions


def position_of(record: Record) -> tuple[str, str]:
    """The keyset of a record in a form a page token can hold."""
    return record.time.isoformat(), record.id


def position_from(token: tuple[object, ...] | None) -> Position | None:
    """The reverse of `position_of`."""
    return None if token is None else (datetime.fromisoformat(str(token[0])), str(token[1]))
