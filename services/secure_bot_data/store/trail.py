"""The access trail and the leases in PostgreSQL: implements `domain.ports.Trail`, and answers the list of accesses."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import ResourceExhausted
from services.secure_bot_data.domain.model import Access, AccessKind, Caller, Lease, SecretRef
from services.secure_bot_data.store.tables import accesses, leases


@dataclass(frozen=True, slots=True)
class AccessFilter:
    """Which accesses of a bot; empty and None hold for all. `start` is included, `end` is not."""

    bot_id: str
    name: str = ""
    actor: str = ""
    kind: AccessKind | None = None
    start: datetime | None = None
    end: datetime | None = None


class PostgresTrail:
    """The trail of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def allow(self, access: Access) -> None:
        """See `Trail.allow`."""
        async with self._database.transaction() as connection:
            await _write(connection, access)

    async def lease(self, access: Access, lease: Lease, max_open: int) -> None:
        """See `Trail.lease`. Leases of one bot are counted one after another, so that a race cannot pass the limit."""
        bot_id, now = lease.ref.bot_id, lease.create_time
        query = select(func.count(), func.min(leases.c.expire_time)).where(*_in_force(bot_id, now))
        async with self._database.transaction() as connection:
            await _lock(connection, bot_id)
            count, next_end = (await connection.execute(query)).one()
            if count >= max_open:
                raise ResourceExhausted(
                    "LEASE_LIMIT_REACHED",
                    "the bot has as many leases in force as allowed",
                    retry_after=next_end - now if next_end else None,
                )
            await connection.execute(
                insert(leases).values(
                    id=lease.id,
                    bot_id=bot_id,
                    name=lease.ref.name,
                    version=lease.version,
                    create_time=now,
                    expire_time=lease.expire_time,
                )
            )
            await _write(connection, access)

    async def deny(self, access: Access) -> None:
        """See `Trail.deny`."""
        async with self._database.transaction(concludes=False) as connection:
            await _write(connection, access)

    async def join(self, connection: AsyncConnection, access: Access) -> None:
        """Writes an access in the caller's transaction."""
        await _write(connection, access)

    async def revoke(self, bot_id: str, reason: str, now: datetime) -> int:
        """See `Trail.revoke`."""
        statement = update(leases).where(*_in_force(bot_id, now))
        async with self._database.transaction() as connection:
            await _lock(connection, bot_id)
            ended = await connection.execute(statement.values(revoke_time=now, revoke_reason=reason))
            return ended.rowcount

    async def list_accesses(self, wanted: AccessFilter, *, before: str | None, limit: int) -> list[Access]:
        """Accesses, newest first, those older than the one with id `before`."""
        query = select(
            accesses, func.coalesce(leases.c.revoke_time, leases.c.expire_time).label("lease_end_time")
        )
        query = query.outerjoin(leases, leases.c.id == accesses.c.lease_id).where(*_conditions(wanted))
        if before is not None:
            query = query.where(accesses.c.id < before)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(accesses.c.id.desc()).limit(limit))
            return [_to_access(row) for row in rows]


async def _write(connection: AsyncConnection, access: Access) -> None:
    await connection.execute(
        insert(accesses).values(
            id=access.id,
            bot_id=access.ref.bot_id,
            name=access.ref.name,
            version=access.version,
            kind=access.kind.value,
            time=access.time,
            actor=access.caller.actor,
            reason=access.reason,
            peer=access.caller.address,
            allowed=access.allowed,
            denied_reason=access.denied_reason,
            request_id=access.caller.request_id,
            lease_id=access.lease_id,
        )
    )


async def _lock(connection: AsyncConnection, bot_id: str) -> None:
    await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"leases/{bot_id}", 0))))


def _in_force(bot_id: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return leases.c.bot_id == bot_id, leases.c.revoke_time.is_(None), leases.c.expire_time > now


def _conditions(wanted: AccessFilter) -> list[ColumnElement[bool]]:
    conditions = [accesses.c.bot_id == wanted.bot_id]
    if wanted.name:
        conditions.append(accesses.c.name == wanted.name)
    if wanted.actor:
        conditions.append(accesses.c.actor == wanted.actor)
    if wanted.kind is not None:
        conditions.append(accesses.c.kind == wanted.kind.value)
    if wanted.start is not None:
        conditions.append(accesses.c.time >= wanted.start)
    if wanted.end is not None:
        conditions.append(accesses.c.time < wanted.end)
    return conditions


def _to_access(row: Row[Any]) -> Access:
    return Access(
        id=row.id,
        ref=SecretRef(row.bot_id, row.name),
        kind=AccessKind(row.kind),
        time=row.time,
        caller=Caller(row.actor, row.peer, row.request_id),
        reason=row.reason,
        version=row.version,
        denied_reason=row.denied_reason,
        lease_id=row.lease_id,
        lease_end_time=row.lease_end_time,
    )
