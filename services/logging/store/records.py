"""Finds log records by time and id."""

from dataclasses import fields
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select, and_, func, select, tuple_

from mesh.database import Database
from services.logging.domain.records import Filter, Position, Record
from services.logging.store.tables import records

RECORD_FIELDS = tuple(field.name for field in fields(Record))


class RecordStore(Protocol):
    """What the service needs to find records."""

    async def find(self, wanted: Filter, after: Position | None, limit: int) -> list[Record]:
        """At most `limit` records in the filter's order, after the position."""


class PostgresRecordStore:
    """RecordStore on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, wanted: Filter, after: Position | None, limit: int) -> list[Record]:
        """See RecordStore."""
        query = _select(wanted, after).limit(limit)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [Record(**{name: row[name] for name in RECORD_FIELDS}) for row in rows]


def _select(wanted: Filter, after: Position | None) -> Select[Any]:
    key = tuple_(records.c.time, records.c.id)
    conditions = _conditions(wanted)
    if after is not None:
        conditions.append(key > after if wanted.oldest_first else key < after)
    order = (records.c.time, records.c.id)
    query = select(records).where(and_(True, *conditions))
    return query.order_by(*(order if wanted.oldest_first else (column.desc() for column in order)))


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
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
