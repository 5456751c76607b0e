"""Keeps audit events: in one chain, each once, never changed.

Appending takes an advisory lock for the length of the transaction, so that replicas chain one after the other and sequences have no gap.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from services.logging.domain.audit_filter import AuditFilter
from services.logging.domain.chain import CHAIN, GENESIS, SALT_BYTES, AuditEvent, ChainedEvent, link
from services.logging.store.tables import audit_events

APPEND_LOCK = 0x61756469
"""Any constant of our own; advisory locks have numbers for names."""
EVENT_FIELDS = tuple(field.name for field in fields(AuditEvent))


@dataclass(frozen=True, slots=True)
class Link:
    """What others hold against an event: where it stands, its hash, and which one it is."""

    sequence: int
    hash: bytes
    event_id: str


class AuditStore(Protocol):
    """What the service needs of a store of audit events."""

    async def append(self, connection: AsyncConnection, events: Sequence[AuditEvent]) -> None:
        """Chain the events that are not chained yet, in order."""

    async def find(self, wanted: AuditFilter, after: int | None, limit: int) -> list[ChainedEvent]:
        """At most `limit` events in the filter's order, after the sequence number."""

    async def read(self, chain: str, after: int, limit: int) -> list[ChainedEvent]:
        """At most `limit` events of a chain behind a sequence, in order."""

    async def links(self, chain: str, sequences: Sequence[int]) -> Mapping[int, Link]:
        """Those of the events that are there."""

    async def end(self, chain: str) -> Link | None:
        """The newest event of a chain."""


def random_salt() -> bytes:
    """For one event."""
    return os.urandom(SALT_BYTES)


class PostgresAuditStore:
    """AuditStore on PostgreSQL. `chain` is the one that events are added to."""

    def __init__(
        self, database: Database, salt: Callable[[], bytes] = random_salt, chain: str = CHAIN
    ) -> None:
        self._database = database
        self._salt = salt
        self._chain = chain

    async def append(self, connection: AsyncConnection, events: Sequence[AuditEvent]) -> None:
        """See AuditStore."""
        await connection.execute(select(func.pg_advisory_xact_lock(APPEND_LOCK)))
        known = select(audit_events.c.id).where(audit_events.c.id.in_([event.id for event in events]))
        seen = set((await connection.execute(known)).scalars())
        head = await _end(connection, self._chain)
        sequence, last = (head.sequence, head.hash) if head else (0, GENESIS)
        rows: list[dict[str, Any]] = []
        for event in events:
            if event.id in seen:
                continue
            seen.add(event.id)
            sequence += 1
            chained = link(sequence, event, last, self._salt(), self._chain)
            last = chained.hash
            rows.append(_row(chained))
        if rows:
            # Many rows as parameters of one statement: one statement with as many values would take longer to put together than to run.
            await connection.execute(insert(audit_events), rows)

    async def find(self, wanted: AuditFilter, after: int | None, limit: int) -> list[ChainedEvent]:
        """See AuditStore."""
        columns = audit_events.c
        conditions = _conditions(wanted)
        if after is not None:
            conditions.append(columns.sequence > after if wanted.oldest_first else columns.sequence < after)
        order = columns.sequence if wanted.oldest_first else columns.sequence.desc()
        query = select(audit_events).where(and_(True, *conditions)).order_by(order).limit(limit)
        async with self._database.read() as connection:
            return [_event(row) for row in (await connection.execute(query)).mappings()]

    async def read(self, chain: str, after: int, limit: int) -> list[ChainedEvent]:
        """See AuditStore."""
        columns = audit_events.c
        query = (
            select(audit_events)
            .where(columns.chain == chain, columns.sequence > after)
            .order_by(columns.sequence)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [_event(row) for row in (await connection.execute(query)).mappings()]

    async def links(self, chain: str, sequences: Sequence[int]) -> Mapping[int, Link]:
        """See AuditStore."""
        columns = audit_events.c
        query = select(columns.sequence, columns.hash, columns.id).where(
            columns.chain == chain, columns.sequence.in_(sequences)
        )
        async with self._database.read() as connection:
            return {row.sequence: Link(*row) for row in await connection.execute(query)}

    async def end(self, chain: str) -> Link | None:
        """See AuditStore."""
        async with self._database.read() as connection:
            return await _end(connection, chain)


async def _end(connection: AsyncConnection, chain: str) -> Link | None:
    columns = audit_events.c
    newest = (
        select(columns.sequence, columns.hash, columns.id)
        .where(columns.chain == chain)
        .order_by(columns.sequence.desc())
        .limit(1)
    )
    row = (await connection.execute(newest)).one_or_none()
    return None if row is None else Link(*row)


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    columns = audit_events.c
    conditions = [columns[name] == value for name, value in wanted.equalities()]
    if wanted.start_time is not None:
        conditions.append(columns.time >= wanted.start_time)
    if wanted.end_time is not None:
        conditions.append(columns.time < wanted.end_time)
    if wanted.action:
        own_name = columns.action.endswith(f"/{wanted.action}", autoescape=True)
        conditions.append(or_(columns.action == wanted.action, own_name))
    if wanted.resource:
        below = columns.resource.startswith(f"{wanted.resource}/", autoescape=True)
        conditions.append(or_(columns.resource == wanted.resource, below))
    return conditions


def _row(chained: ChainedEvent) -> dict[str, Any]:
    row = asdict(chained)
    event: dict[str, Any] = row.pop("event")
    return row | event


def _event(row: Mapping[Any, Any]) -> ChainedEvent:
    return ChainedEvent(
        chain=row["chain"],
        sequence=row["sequence"],
        event=AuditEvent(**{name: row[name] for name in EVENT_FIELDS}),
        hash=row["hash"],
        previous_hash=row["previous_hash"],
        format=row["format"],
        commitment=row["commitment"] or b"",
        salt=row["salt"] or b"",
        erased=row["erased"],
    )
