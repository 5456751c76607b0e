"""Writes log records: many at a time by COPY, each once, in batches that have an order.

    COPY everything ─ unique violation → look up what is there already, COPY the rest
                    ─ refused data     → COPY each half by itself, until the bad record stands alone
                    ─ anything else    → the whole transaction fails

Each attempt is in a savepoint. Records are sorted, so that two transactions with the same records wait for each other in one order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Protocol
from uuid import NAMESPACE_OID, uuid5

import psycopg.errors
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.clock import Clock
from mesh.database import copy, once_committed
from mesh.errors import Aborted
from services.logging.domain.records import Record
from services.logging.domain.retention import Retention, place_of, places_of, seen_now
from services.logging.store.batches import begin_batch, end_batch
from services.logging.store.partitions import Partitions
from services.logging.store.rows import COPY_RECORDS, chunks
from services.logging.store.tables import rejected

AN_ATTEMPT = 1_000
"""Records of one COPY: what is lost and done again if one of them is there already."""
MAX_LOOKUPS = 10
"""Unique violations within one transaction: one is a redelivery, a few are other replicas that were faster."""
DATA_CLASSES = ("22", "23", "54")
"""Classes of SQLSTATE that blame the row: data exception, integrity constraint violation, program limit exceeded."""

Key = tuple[int, datetime, str]
OnStored = Callable[[int], None]
"""Told the number of each batch once it is committed; must not block or raise."""

# LIMIT keeps the planner from joining a whole partition; the bounds leave out the partitions that cannot hold any.
_KNOWN = text(
    "SELECT wanted.category, wanted.time, CAST(wanted.id AS text) AS id FROM unnest("
    "CAST(:categories AS smallint[]), CAST(:times AS timestamptz[]), CAST(:ids AS uuid[])) AS wanted (category, time, id),"
    " LATERAL (SELECT FROM records WHERE records.category = wanted.category AND records.time = wanted.time"
    " AND records.id = wanted.id AND records.category = ANY (CAST(:some_categories AS smallint[]))"
    " AND records.time BETWEEN :first_time AND :last_time LIMIT 1) AS known"
)


@dataclass(frozen=True, slots=True)
class Poison:
    """A record or message that cannot be stored, with what it was, so that nothing disappears without a trace.

    `payload` holds no secret.
    """

    subject: str
    message_id: str
    position: int
    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that the database refuses for what is in it, and the name of PostgreSQL's error."""

    record: Record
    reason: str


class RecordWriter(Protocol):
    """What the service needs to store records."""

    async def add(self, connection: AsyncConnection, batch: Sequence[Record]) -> Sequence[Refusal]:
        """Add records; those that are there already stay as they are. What the database refuses is returned and not stored.

        Ends a transaction: commit after it. Raises Aborted if others keep being faster, else what a transaction raises.
        """
        ...

    async def reject(self, connection: AsyncConnection, poison: Sequence[Poison]) -> None:
        """Keep what cannot be stored, with the reason; what comes again is kept once."""
        ...


class PostgresRecordWriter:
    """RecordWriter on PostgreSQL. `retention` gives what is in force; `writer` is the name of this instance."""

    def __init__(
        self,
        partitions: Partitions,
        retention: Callable[[], Retention],
        clock: Clock,
        writer: str,
        on_stored: OnStored | None = None,
    ) -> None:
        self._partitions = partitions
        self._retention = retention
        self._clock = clock
        self._writer = writer
        self._on_stored = on_stored

    async def add(self, connection: AsyncConnection, batch: Sequence[Record]) -> Sequence[Refusal]:
        """See RecordWriter."""
        if not batch:
            return ()
        records = await self._in_place(connection, batch)
        number = await begin_batch(connection)
        copying = _Copying(connection, number)
        await copying.run(records)
        if copying.stored:
            last = await end_batch(connection, number, copying.stored, self._writer)
            if self._on_stored is not None:
                await once_committed(connection, partial(self._on_stored, last))
        return copying.refused

    async def reject(self, connection: AsyncConnection, poison: Sequence[Poison]) -> None:
        """See RecordWriter."""
        if poison:
            rows = [{"id": _poison_id(item), **asdict(item)} for item in poison]
            await connection.execute(insert(rejected).on_conflict_do_nothing(), rows)

    async def _in_place(self, connection: AsyncConnection, batch: Sequence[Record]) -> list[Record]:
        """The records sorted, each once, their partitions made."""
        unique = {_key(record): record for record in reversed(batch)}
        now, retention = self._clock.now(), self._retention()
        places = places_of(batch)
        near = {place for place in places if retention.reaches(*place, now)}
        await self._partitions.ensure(connection, near)
        records = [unique[key] for key in sorted(unique)]
        if near == places:
            return records
        return [record if place_of(record) in near else seen_now(record, now) for record in records]


class _Copying:
    """The attempts to copy one batch, the first of them last in the list; what was stored and what was refused."""

    def __init__(self, connection: AsyncConnection, batch: int) -> None:
        self.stored: list[Record] = []
        self.refused: list[Refusal] = []
        self._connection = connection
        self._batch = batch
        self._lookups = 0

    async def run(self, records: Sequence[Record]) -> None:
        """Store what can be stored."""
        waiting = [records[start : start + AN_ATTEMPT] for start in range(0, len(records), AN_ATTEMPT)]
        waiting.reverse()
        while waiting:
            part = waiting.pop()
            if not part:
                continue
            try:
                async with self._connection.begin_nested():
                    await copy(self._connection, COPY_RECORDS, chunks(part, self._batch))
            except psycopg.errors.UniqueViolation:
                waiting = await self._without_known([*waiting, part])
            except psycopg.Error as error:
                waiting.extend(self._halves(part, error))
            else:
                self.stored.extend(part)

    def _halves(self, part: Sequence[Record], error: psycopg.Error) -> list[Sequence[Record]]:
        """What to try next, last first. Raises the error again if it does not blame the data."""
        if (error.sqlstate or "")[:2] not in DATA_CLASSES:
            raise error
        if len(part) == 1:
            self.refused.append(Refusal(part[0], type(error).__name__))
            return []
        middle = len(part) // 2
        return [part[middle:], part[:middle]]

    async def _without_known(self, parts: Sequence[Sequence[Record]]) -> list[Sequence[Record]]:
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise Aborted("VERSION_MISMATCH", "other writers of the same records are faster; repeat the call")
        everything = [record for part in parts for record in part]
        found = await self._connection.execute(_KNOWN, _lookup(everything))
        known = {(row.category, row.time, row.id) for row in found}
        return [[record for record in part if _key(record) not in known] for part in parts]


def _lookup(part: Sequence[Record]) -> Mapping[str, object]:
    times = [record.time for record in part]
    categories = [record.category for record in part]
    return {
        "categories": categories,
        "times": times,
        "ids": [record.id for record in part],
        "some_categories": sorted(set(categories)),
        "first_time": min(times),
        "last_time": max(times),
    }


def _key(record: Record) -> Key:
    return record.category, record.time, record.id


def _poison_id(poison: Poison) -> str:
    """The same whenever the same comes again."""
    return str(uuid5(NAMESPACE_OID, repr(poison)))
