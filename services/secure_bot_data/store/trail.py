"""The access trail and the leases in PostgreSQL: implements `domain.ports.Trail`, and answers the list of accesses.

What many calls want on the trail at the same moment is committed at once. A value still leaves only after the commit with its own row.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.batching import Batcher
from mesh.context import Call, current_call
from mesh.database import Database
from mesh.errors import ResourceExhausted
from services.secure_bot_data.domain.model import Access, AccessKind, Caller, Lease, SecretRef
from services.secure_bot_data.store.tables import accesses, leases

Conclude: TypeAlias = Callable[[AsyncConnection, Sequence[Call | None]], Awaitable[Callable[[], None] | None]]


@dataclass(frozen=True, slots=True)
class AccessFilter:
    """Which accesses of a bot; empty and None hold for all. `start` is included, `end` is not."""

    bot_id: str
    name: str = ""
    actor: str = ""
    kind: AccessKind | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one call wants on the trail. `call` is put on the audit trail with it; None: the call may still fail."""

    access: Access
    call: Call | None
    lease: Lease | None = None
    max_open: int = 0


async def _not_audited(connection: AsyncConnection, calls: Sequence[Call | None]) -> None:
    """For whoever serves no calls."""


class PostgresTrail:
    """The trail of one database. `run` must be running: entries are written in batches, see `mesh.batching`.

    `conclude` writes the audit records of calls into the transaction; see `AuditTrail.conclude`.
    """

    def __init__(self, database: Database, conclude: Conclude = _not_audited) -> None:
        self._database = database
        self._conclude = conclude
        self._entries = Batcher[_Entry, ResourceExhausted | None](self._write, _alone)

    async def run(self) -> None:
        """Write entries until cancelled."""
        await self._entries.run()

    async def allow(self, access: Access) -> None:
        """See `Trail.allow`."""
        await self._entries.submit(_Entry(access, current_call()))

    async def lease(self, access: Access, lease: Lease, max_open: int) -> None:
        """See `Trail.lease`. Leases of one bot are counted one after another, so that a race cannot pass the limit."""
        full = await self._entries.submit(_Entry(access, current_call(), lease, max_open))
        if full is not None:
            raise full

    async def deny(self, access: Access) -> None:
        """See `Trail.deny`."""
        await self._entries.submit(_Entry(access, None))

    async def _write(self, entries: Sequence[_Entry]) -> list[ResourceExhausted | None]:
        """For each entry why it was not written; None: it was."""
        async with self._database.transaction(concludes=False) as connection:
            full = await _full(connection, [entry for entry in entries if entry.lease is not None])
            written = [entry for entry in entries if entry.access.id not in full]
            granted = [_lease_row(entry.lease) for entry in written if entry.lease is not None]
            if granted:
                await connection.execute(_INSERT_LEASE, granted)
            if written:
                await connection.execute(_INSERT_ACCESS, [_access_row(entry.access) for entry in written])
            concluded = await self._conclude(connection, [entry.call for entry in written])
        if concluded is not None:
            concluded()
        return [full.get(entry.access.id) for entry in entries]

    async def revoke(self, bot_id: str, reason: str, now: datetime) -> int:
        """See `Trail.revoke`."""
        statement = update(leases).where(*_in_force(bot_id, now))
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK, {"bots": [bot_id]})
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


_INSERT_ACCESS: Final = insert(accesses)
_INSERT_LEASE: Final = insert(leases)
# In the order of the locks' numbers, so that two batches never wait for each other.
_LOCK: Final = text(
    "SELECT pg_advisory_xact_lock(number) FROM ("
    "SELECT hashtextextended('leases/' || bot, 0) AS number FROM unnest(CAST(:bots AS text[])) AS bot ORDER BY 1) AS locks"
)
_OPEN: Final = text(
    "SELECT bot_id, count(*), min(expire_time) FROM leases"
    " WHERE bot_id = ANY(CAST(:bots AS uuid[])) AND revoke_time IS NULL AND expire_time > :now GROUP BY bot_id"
)


def _alone(entry: _Entry) -> str:
    """Entries with the same key are written one after another: the leases of a bot."""
    return entry.access.id if entry.lease is None else entry.lease.ref.bot_id


async def _full(connection: AsyncConnection, entries: Sequence[_Entry]) -> dict[str, ResourceExhausted]:
    """By access, the refusal of each lease that would be one too many. Locks the bots' leases until the transaction ends."""
    if not entries:
        return {}
    bots = [entry.access.ref.bot_id for entry in entries]
    await connection.execute(_LOCK, {"bots": bots})
    now = max(entry.access.time for entry in entries)
    counted = {str(row[0]): row for row in await connection.execute(_OPEN, {"bots": bots, "now": now})}
    full = {}
    for entry in entries:
        _, count, next_end = counted.get(entry.access.ref.bot_id, ("", 0, None))
        if count >= entry.max_open:
            full[entry.access.id] = ResourceExhausted(
                "LEASE_LIMIT_REACHED",
                "the bot has as many leases in force as allowed",
                retry_after=next_end - now if next_end else None,
            )
    return full


def _access_row(access: Access) -> dict[str, Any]:
    return {
        "id": access.id,
        "bot_id": access.ref.bot_id,
        "name": access.ref.name,
        "version": access.version,
        "kind": access.kind.value,
        "time": access.time,
        "actor": access.caller.actor,
        "reason": access.reason,
        "peer": access.caller.address,
        "allowed": access.allowed,
        "denied_reason": access.denied_reason,
        "request_id": access.caller.request_id,
        "lease_id": access.lease_id,
    }


def _lease_row(lease: Lease) -> dict[str, Any]:
    return {
        "id": lease.id,
        "bot_id": lease.ref.bot_id,
        "name": lease.ref.name,
        "version": lease.version,
        "create_time": lease.create_time,
        "expire_time": lease.expire_time,
        "revoke_time": None,
        "revoke_reason": None,
    }


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
