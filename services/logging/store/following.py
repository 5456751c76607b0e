"""Reads what was stored in the order in which it was stored, for those who follow it live.

Rows are found by the ids of their batches; the times of the batches keep the search within few partitions. Words are judged here, by
the very functions that a search uses: PostgreSQL takes a text apart in ways (hosts, paths, hyphens, numbers) that nobody should imitate.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select, and_, func, select, tuple_

from mesh.database import Database
from services.logging.domain.following import Batch, Head, Key, Row
from services.logging.domain.records import Filter, Record
from services.logging.store.conditions import conditions
from services.logging.store.search import RECORD_FIELDS
from services.logging.store.tables import batch_numbers, batches, records


class StoredBatches(Protocol):
    """What following needs of the store. Every method raises Unavailable or DeadlineExceeded."""

    async def head(self) -> Head:
        """Which batches there are."""

    async def after(self, number: int, limit: int) -> list[Batch]:
        """The next batches behind `number`, in order."""

    async def rows(
        self, of: Sequence[Batch], texts: Collection[str], after: Key | None, limit: int
    ) -> list[Row]:
        """The first `limit` records of these batches in the order of their keys behind `after`, with those `texts` that they match."""

    async def matching(self, of: Sequence[Batch], wanted: Filter, after: Key | None, limit: int) -> list[Row]:
        """Like `rows`, only those that match a filter."""


class PostgresStoredBatches:
    """StoredBatches on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self) -> Head:
        """See StoredBatches."""
        first = select(func.min(batches.c.number)).scalar_subquery()
        async with self._database.read() as connection:
            last, kept = (await connection.execute(select(batch_numbers.c.last, first))).one()
        return Head(last, last + 1 if kept is None else kept)

    async def after(self, number: int, limit: int) -> list[Batch]:
        """See StoredBatches."""
        columns = (getattr(batches.c, name) for name in Batch.__slots__)
        query = select(*columns).where(batches.c.number > number).order_by(batches.c.number).limit(limit)
        async with self._database.read() as connection:
            return [Batch(*row) for row in await connection.execute(query)]

    async def rows(
        self, of: Sequence[Batch], texts: Collection[str], after: Key | None, limit: int
    ) -> list[Row]:
        """See StoredBatches."""
        query = select(records).where(*_within(of, after)).order_by(*_KEY).limit(limit)
        return await self._rows(_judged(query, list(texts)) if texts else query, of, list(texts))

    async def matching(self, of: Sequence[Batch], wanted: Filter, after: Key | None, limit: int) -> list[Row]:
        """See StoredBatches."""
        query = select(records).where(*_within(of, after), *conditions(wanted)).order_by(*_KEY).limit(limit)
        return await self._rows(query, of, [])

    async def _rows(self, query: Select[Any], of: Sequence[Batch], texts: list[str]) -> list[Row]:
        numbers = {batch.id: batch.number for batch in of}
        async with self._database.read() as connection:
            found = (await connection.execute(query)).mappings().all()
        return [
            Row(
                numbers[row["batch"]],
                _record(row),
                frozenset(text for place, text in enumerate(texts) if row[f"text_{place}"]),
            )
            for row in found
        ]


_KEY = (records.c.time, records.c.category, records.c.id)


def _within(of: Sequence[Batch], after: Key | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [
        records.c.batch.in_([batch.id for batch in of]),
        records.c.time.between(min(b.first_time for b in of), max(b.last_time for b in of)),
    ]
    if after is not None:
        found.append(tuple_(*_KEY) > after)
    return found


def _judged(query: Select[Any], texts: list[str]) -> Select[Any]:
    """The same rows with a verdict on each text. The limit within keeps PostgreSQL from taking a body apart once for every text."""
    words = func.to_tsvector("simple", records.c.body).label("words")
    inner = query.add_columns(words).subquery()
    verdicts = (
        inner.c.words.op("@@")(func.websearch_to_tsquery("simple", text)).label(f"text_{place}")
        for place, text in enumerate(texts)
    )
    columns = (column for column in inner.c if column.name != "words")
    return select(*columns, *verdicts).where(and_(True)).order_by(inner.c.time, inner.c.category, inner.c.id)


def _record(row: Any) -> Record:
    return Record(**{name: row[name] for name in RECORD_FIELDS})
