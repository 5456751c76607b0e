"""Keeps audit events: in one chain, each once, never changed.

Appending takes an advisory lock for the length of the transaction, so that replicas chain one after the other and sequences have no gap.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from sqlalchemy import and_, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from services.logging.domain.audit_filter import AuditFilter
from services.logging.domain.chain import GENESIS, AuditEvent, ChainedEvent, link
from services.logging.store.tables import audit_events

APPEND_LOCK = 0x61756469
"""Any constant of our own; advisory locks have numbers for names."""


class AuditStore(Protocol):
    """What the service needs of a store of audit events."""

    async def append(self, connection: AsyncConnection, events: Sequence[AuditEvent]) -> None:
        """Chain the events that are not chained yet, in order."""

    async def find(self, wanted: AuditFilter, after: int | None, limit: int) -> list[ChainedEvent]:
        """At most `limit` events in the filter's order, after the sequence number."""


class PostgresAuditStore:
    """AuditStore on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, connection: AsyncConnection, events: Sequence[AuditEvent]) -> None:
        """See AuditStore."""
        await connection.execute(select(func.pg_advisory_xact_lock(APPEND_LOCK)))
        known = select(audit_events.c.id).where(audit_events.c.id.in_([event.id for event in events]))
        seen = set((await connection.execute(known)).scalars())
        newest = (
            select(audit_events.c.sequence, audit_events.c.hash)
            .order_by(audit_events.c.sequence.desc())
            .limit(1)
        )
        head = (await connection.execute(newest)).one_or_none()
        sequence, last = (head.sequence, head.hash) if head else (0, GENESIS)
        rows: list[dict[str, Any]] = []
        for event in events:
            if event.id in seen:
                continue
            seen.add(event.id)
            sequence += 1
            chained = link(sequence, event, last)
            last = chained.hash
            rows.append(
                {
                    "sequence": sequence,
                    "hash": chained.hash,
                    "previous_hash": chained.previous_hash,
                    **asdict(event),
                }
            )
        if rows:
            await connection.execute(insert(audit_events).values(rows))

    async def find(self, wanted: AuditFilter, after: int | None, limit: int) -> list[ChainedEvent]:
        """See AuditStore."""
        columns = audit_events.c
        conditions = [columns[name] == value for name, value in wanted.equalities()]
        if wanted.start_time is not None:
            conditions.append(columns.time >= wanted.start_time)
        if wanted.end_time is not None:
            conditions.append(columns.time < wanted.end_time)
        if after is not None:
            conditions.append(columns.sequence > after if wanted.oldest_first else columns.sequence < after)
        order = columns.sequence if wanted.oldest_first else columns.sequence.desc()
        query = select(audit_events).where(and_(True, *conditions)).order_by(order).limit(limit)
        async with self._database.read() as connection:
            rows = [dict(row) for row in (await connection.execute(query)).mappings()]
        return [
            ChainedEvent(
                sequence=row.pop("sequence"),
                hash=row.pop("hash"),
                previous_hash=row.pop("previous_hash"),
                event=AuditEvent(**row),
            )
            for row in rows
        ]
