"""Counts records by time, in one statement.

Records are counted by the minute as they are stored, so a filter that asks for nothing else than what they are counted by is answered from
these counts; the ends of the range that are no whole minutes are counted from the records, in the same statement and therefore at the
same moment. Any other filter counts the records themselves.
"""

from datetime import timedelta
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Interval,
    Select,
    SelectBase,
    Table,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)

from mesh.database import Database
from services.logging.domain.histogram import EPOCH, Buckets, Grouping, Tally
from services.logging.domain.records import Filter
from services.logging.store.conditions import before_time, conditions, countable, counted, from_time
from services.logging.store.search_session import search_session
from services.logging.store.tables import record_counts, records

COUNT_WORKERS: Final = 2
"""Of the database, for counts: a million of them in ten days is much, and nothing against the records."""
_MINUTE: Final = timedelta(minutes=1)
_GROUPED: Final = ("category", "severity", "service")


class RecordCounter(Protocol):
    """What the service needs for histograms."""

    async def count(
        self, wanted: Filter, buckets: Buckets, grouping: Grouping, *, seconds: float
    ) -> list[Tally]:
        """What is in the buckets; empty ones are left out. The times are those of the buckets. Raises DeadlineExceeded, Unavailable."""


class PostgresRecordCounter:
    """RecordCounter on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(
        self, wanted: Filter, buckets: Buckets, grouping: Grouping, *, seconds: float = 10
    ) -> list[Tally]:
        """See RecordCounter."""
        by_minute = countable(wanted) and buckets.interval % _MINUTE == timedelta(0)
        source = (_from_counts if by_minute else _from_records)(wanted, buckets).subquery()
        bucket = func.date_bin(
            cast(literal(buckets.interval), Interval), source.c.time, literal(buckets.first)
        )
        group = _group(source, grouping)
        query = select(
            bucket.label("bucket"), group.label("group"), func.sum(source.c["count"]).label("count")
        )
        async with search_session(self._database, seconds) as session:
            workers = COUNT_WORKERS if by_minute else 0
            rows = (await session.execute(query.group_by("bucket", "group"), workers=workers)).all()
        return [Tally(start, value, int(number)) for start, value, number in rows]


def _group(source: Any, grouping: Grouping) -> ColumnElement[Any]:
    match grouping:
        case Grouping.NOTHING:
            return null()
        case Grouping.SEVERITY:
            return func.greatest((source.c.severity + 3) // 4 * 4 - 3, 0)
        case Grouping.SERVICE | Grouping.CATEGORY:
            column: ColumnElement[Any] = source.c[grouping.name.lower()]
            return column


def _from_records(wanted: Filter, buckets: Buckets) -> SelectBase:
    query = _columns(records, records.c.time, literal(1, BigInteger))
    return query.where(*conditions(wanted), *from_time(buckets.start), *before_time(buckets.end))


def _from_counts(wanted: Filter, buckets: Buckets) -> SelectBase:
    start, end = buckets.start, buckets.end
    first, last = start + (EPOCH - start) % _MINUTE, end - (end - EPOCH) % _MINUTE
    if first >= last:
        return _from_records(wanted, buckets)
    minute = record_counts.c.minute
    minutes = _columns(record_counts, minute, record_counts.c["count"])
    minutes = minutes.where(*counted(wanted, record_counts), minute >= first, minute < last)
    edges = [
        _columns(records, records.c.time, literal(1, BigInteger)).where(
            *counted(wanted, records), *from_time(since), *before_time(until)
        )
        for since, until in ((start, first), (last, end))
        if since < until
    ]
    return union_all(minutes, *edges)


def _columns(table: Table, time: ColumnElement[Any], count: ColumnElement[Any]) -> "Select[Any]":
    return select(time.label("time"), count.label("count"), *(table.c[name] for name in _GROUPED))
