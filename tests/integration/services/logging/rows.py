"""Records put into the store by SQL, with all that goes with them: their batch, its number, their counts."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.clock import SystemClock
from mesh.database import Database
from mesh.ids import new_id
from mesh.paging import PageTokens
from services.logging.domain.records import DEBUG, Record
from services.logging.servicers.search_lanes import SearchLanes, SearchRules
from services.logging.servicers.searching import Searching
from services.logging.store.histogram import PostgresRecordCounter
from services.logging.store.search import PostgresRecordSearch
from services.logging.store.tables import batch_ids, batch_numbers, batches, record_counts, records

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(time: datetime = NOON, **fields: Any) -> Record:
    """A record with little in it."""
    given: Mapping[str, Any] = {
        "id": new_id(),
        "time": time,
        "observed_time": time,
        "category": DEBUG,
        "severity": 9,
        "body": "something happened",
        "service": "bot_manager",
    }
    empty = dict.fromkeys(
        (
            *("severity_text", "instance", "service_version", "actor", "bot_id"),
            *("request_id", "trace_id", "span_id"),
        ),
        "",
    )
    return Record(**{**empty, **given, **fields})


async def store(database: Database, rows: Sequence[Record]) -> None:
    """Store the records as one batch."""
    async with begun_batch(database, rows):
        pass


@asynccontextmanager
async def begun_batch(database: Database, rows: Sequence[Record]) -> AsyncIterator[None]:
    """A batch that has begun when the block begins, and has ended when the block has."""
    async with database.transaction() as connection:
        batch = (await connection.execute(select(batch_ids.next_value()))).scalar_one()
        yield
        for day in {row.time.date() for row in rows}:
            await connection.execute(text("SELECT ensure_day(:day)"), {"day": day})
        await connection.execute(insert(records), [{**asdict(row), "batch": batch} for row in rows])
        await _count(connection, rows)
        await _end(connection, batch, rows)


async def _count(connection: AsyncConnection, rows: Sequence[Record]) -> None:
    counts = Counter(
        (row.time.replace(second=0, microsecond=0), row.category, row.severity, row.service) for row in rows
    )
    names = ("minute", "category", "severity", "service")
    writer = new_id()
    values = [
        {**dict(zip(names, key, strict=True)), "writer": writer, "count": n} for key, n in counts.items()
    ]
    await connection.execute(insert(record_counts), values)


async def _end(connection: AsyncConnection, batch: int, rows: Sequence[Record]) -> None:
    taken = update(batch_numbers).values(last=batch_numbers.c.last + 1).returning(batch_numbers.c.last)
    number = (await connection.execute(taken)).scalar_one()
    times = [row.time for row in rows]
    await connection.execute(
        insert(batches).values(
            number=number,
            id=batch,
            store_time=func.now(),
            first_time=min(times),
            last_time=max(times),
            record_count=len(rows),
        )
    )


def searching_in(database: Database) -> Searching:
    """The part of the servicer that searches, as `assembly.py` makes it."""
    return Searching(
        PostgresRecordSearch(database),
        PostgresRecordCounter(database),
        SearchLanes(lambda: SearchRules(2, 10), SystemClock()),
        PageTokens(bytes(32), "test"),
        SystemClock(),
    )
