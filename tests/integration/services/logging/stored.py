"""Batches of records in the real store, as whoever stores records writes them: rows first, the number last."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.clock import SystemClock
from mesh.database import Database
from mesh.ids import new_id
from mesh.paging import PageTokens
from mesh.tasks import TaskSet
from services.logging.domain.following import Batch, Head, Key, Row
from services.logging.domain.records import DEBUG, Filter, Record
from services.logging.servicers.tailing import Tailing
from services.logging.store.following import PostgresStoredBatches
from services.logging.store.search import PostgresRecordSearch
from services.logging.store.tables import batch_ids, batch_numbers, batches, records
from services.logging.tailing.hub import Hub
from services.logging.tailing.pace import Pace

SECRET = b"the secret of every replica of the service"


def a_record(marker: str, body: str = "a line", **changes: Any) -> Record:
    """A record that the filter `request_id=marker` finds."""
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "id": new_id(),
        "time": now,
        "observed_time": now,
        "category": DEBUG,
        "severity": 9,
        "severity_text": "INFO",
        "body": body,
        "service": "bot_manager",
        "instance": "test-1",
        "service_version": "",
        "actor": "",
        "bot_id": "",
        "request_id": marker,
        "trace_id": "",
        "span_id": "",
        "attributes": {},
    }
    return Record(**{**fields, **changes})


async def write(connection: AsyncConnection, made: Sequence[Record]) -> int:
    """Rows of one batch and its number, which stays locked until the transaction ends."""
    id = (await connection.execute(select(batch_ids.next_value()))).scalar_one()
    await connection.execute(insert(records), [{**asdict(record), "batch": id} for record in made])
    number = (
        await connection.execute(
            batch_numbers.update().values(last=batch_numbers.c.last + 1).returning(batch_numbers.c.last)
        )
    ).scalar_one()
    times = [record.time for record in made]
    values = {"number": number, "id": id, "first_time": min(times), "last_time": max(times)}
    await connection.execute(insert(batches).values(record_count=len(made), **values))
    return int(number)


async def store(database: Database, *made: Record) -> int:
    """Store one batch; its number."""
    async with database.transaction() as connection:
        return await write(connection, made)


async def forget(database: Database, before: int) -> None:
    """Prune batches, as housekeeping does once their records are gone."""
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM batches WHERE number < :number"), {"number": before})


class Counting:
    """StoredBatches that counts what it is asked, and fails as often as it is told to."""

    def __init__(self, database: Database) -> None:
        self._store = PostgresStoredBatches(database)
        self.looks = 0
        self.read: list[int] = []
        """Numbers of the batches whose rows were read for all."""
        self.failures: list[Exception] = []

    async def head(self) -> Head:
        """See StoredBatches."""
        return await self._store.head()

    async def after(self, number: int, limit: int) -> list[Batch]:
        """See StoredBatches."""
        self.looks += 1
        return await self._store.after(number, limit)

    async def rows(
        self, of: Sequence[Batch], texts: Collection[str], after: Key | None, limit: int
    ) -> list[Row]:
        """See StoredBatches."""
        if self.failures:
            raise self.failures.pop()
        self.read += [batch.number for batch in of]
        return await self._store.rows(of, texts, after, limit)

    async def matching(self, of: Sequence[Batch], wanted: Filter, after: Key | None, limit: int) -> list[Row]:
        """See StoredBatches."""
        if self.failures:
            raise self.failures.pop()
        return await self._store.matching(of, wanted, after, limit)


class Replica:
    """One process's part: a hub and what serves its streams."""

    def __init__(
        self, database: Database, *, rate: int = 100_000, max_open: int = 1_000, **times: timedelta
    ) -> None:
        self.store = Counting(database)
        times = {"poll": timedelta(milliseconds=20), "patience": timedelta(seconds=30), **times}
        self.hub = Hub(
            self.store, Pace(lambda: rate, SystemClock()), lambda: max_open, SystemClock(), **times
        )
        self.tailing = Tailing(
            self.hub, self.store, PostgresRecordSearch(database), PageTokens(SECRET, "logging.tail")
        )


@asynccontextmanager
async def replica(database: Database, **options: Any) -> AsyncIterator[Replica]:
    """A replica whose hub runs."""
    made = Replica(database, **options)
    async with TaskSet() as tasks:
        tasks.spawn(made.hub.run(), name="hub")
        yield made
