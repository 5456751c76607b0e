"""The access trail and the leases in PostgreSQL: implements `domain.ports.Trail`, and answers the list of accesses.

What many calls want on the trail at the same moment is committed at once. A value still leaves only after the commit with its own row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.audit import Conclude, unaudited
from mesh.batching import Batcher
from mesh.clock import Clock
from mesh.context import Call, current_call
from mesh.database import Database
from mesh.errors import Aborted, MeshError, ResourceExhausted
from services.secure_bot_data.domain.leasing import Grant
from services.secure_bot_data.domain.model import Access, AccessKind, Caller, Lease, SecretRef
from services.secure_bot_data.store.locking import lock
from services.secure_bot_data.store.moment import database_time
from services.secure_bot_data.store.tables import accesses, lease_revocations, leases


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
class _Standing:
    """A bot's leases at the moment `now` of the database's clock: when they were last ended, how many are in force, when the next ends."""

    now: datetime
    revoked: datetime | None
    count: int
    next_end: datetime | None

    def check(self, asked: datetime, max_open: int) -> None:
        """Raises the refusal of a lease that was asked for at `asked`."""
        if self.revoked is not None and self.revoked >= asked:
            raise Aborted("LEASES_REVOKED", "the bot's leases were ended while this one was being made")
        if self.count >= max_open:
            raise ResourceExhausted(
                "LEASE_LIMIT_REACHED",
                "the bot has as many leases in force as allowed",
                retry_after=self.next_end - self.now if self.next_end else None,
            )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A lease that somebody asked for at `asked`, in monotonic seconds, when the bot may have `max_open`."""

    grant: Grant
    asked: float
    max_open: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one call wants on the trail. `call` is put on the audit trail with it; None: the call may still fail."""

    what: Access | _Wanted
    call: Call | None


@dataclass(frozen=True, slots=True)
class _Settled:
    """What becomes of an entry: what is written, or why nothing is."""

    access: Access | None = None
    lease: Lease | None = None
    refusal: MeshError | None = None


class PostgresTrail:
    """The trail of one database. `run` must be running: entries are written in batches, see `mesh.batching`.

    `conclude` writes the audit records of calls into the transaction; see `AuditTrail.conclude`.
    """

    def __init__(self, database: Database, clock: Clock, conclude: Conclude = unaudited) -> None:
        self._database = database
        self._clock = clock
        self._conclude = conclude
        self._entries = Batcher[_Entry, _Settled](self._write, _bot_of)

    async def run(self) -> None:
        """Write entries until cancelled."""
        await self._entries.run()

    async def allow(self, access: Access) -> None:
        """See `Trail.allow`."""
        await self._entries.submit(_Entry(access, current_call()))

    async def lease(self, grant: Grant, asked: float, max_open: int) -> Lease | MeshError:
        """See `Trail.lease`. Leases of one bot are made one after another, so that a race cannot pass the limit."""
        settled = await self._entries.submit(_Entry(_Wanted(grant, asked, max_open), current_call()))
        outcome = settled.lease or settled.refusal
        if outcome is None:
            raise RuntimeError("this is a bug: a lease was neither made nor refused")
        return outcome

    async def deny(self, access: Access) -> None:
        """See `Trail.deny`."""
        await self._entries.submit(_Entry(access, None))

    async def join(self, connection: AsyncConnection, access: Access) -> None:
        """Writes an access in the caller's transaction."""
        await connection.execute(_INSERT_ACCESS, _access_row(access))

    async def revoke(self, bot_id: str, reason: str) -> int:
        """See `Trail.revoke`. Whatever was asked for before it, and is not yet made, is refused when it comes."""
        async with self._database.transaction() as connection:
            await lock(connection, [_lock_name(bot_id)])
            now = await database_time(connection)
            revoked = insert(lease_revocations).values(bot_id=bot_id, time=now)
            await connection.execute(
                revoked.on_conflict_do_update(index_elements=["bot_id"], set_={"time": now})
            )
            ended = await connection.execute(
                update(leases).where(*_in_force(bot_id, now)).values(revoke_time=now, revoke_reason=reason)
            )
            return ended.rowcount

    async def _write(self, entries: Sequence[_Entry]) -> list[_Settled]:
        """Commits what can be written of the entries."""
        async with self._database.transaction(concludes=False) as connection:
            standings = await _standings(connection, entries)
            settled = [self._settle(entry.what, standings) for entry in entries]
            made = [_lease_row(one.lease) for one in settled if one.lease is not None]
            if made:
                await connection.execute(_INSERT_LEASE, made)
            written = [_access_row(one.access) for one in settled if one.access is not None]
            if written:
                await connection.execute(_INSERT_ACCESS, written)
            calls = [
                entry.call for entry, one in zip(entries, settled, strict=True) if one.access is not None
            ]
            concluded = await self._conclude(connection, calls)
        if concluded is not None:
            concluded()
        return settled

    def _settle(self, what: Access | _Wanted, standings: Mapping[str, _Standing]) -> _Settled:
        if isinstance(what, Access):
            return _Settled(what)
        standing = standings[what.grant.access.ref.bot_id]
        # On the database's clock, whatever ours shows.
        asked = standing.now - timedelta(seconds=self._clock.monotonic() - what.asked)
        try:
            standing.check(asked, what.max_open)
            access, lease = what.grant.at(standing.now)
        except MeshError as refusal:
            return _Settled(refusal=refusal)
        return _Settled(access, lease)

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
_STANDINGS: Final = text(
    "SELECT CAST(bot AS text), clock_timestamp(), revocation.time, count(lease.id), min(lease.expire_time)"
    " FROM unnest(CAST(:bots AS uuid[])) AS bot"
    " LEFT JOIN lease_revocations AS revocation ON revocation.bot_id = bot"
    " LEFT JOIN leases AS lease ON lease.bot_id = bot AND lease.revoke_time IS NULL AND lease.expire_time > now()"
    " GROUP BY bot, revocation.time"
)


def _lock_name(bot_id: str) -> str:
    return f"leases/{bot_id}"


def _bot_of(entry: _Entry) -> str | None:
    """Leases of one bot are written one after another; None for what is no lease."""
    return None if isinstance(entry.what, Access) else entry.what.grant.access.ref.bot_id


async def _standings(connection: AsyncConnection, entries: Sequence[_Entry]) -> dict[str, _Standing]:
    """How things stand with each bot of which a lease is wanted. Locks the bots' leases until the transaction ends."""
    wanted = [entry.what for entry in entries if isinstance(entry.what, _Wanted)]
    bots = [one.grant.access.ref.bot_id for one in wanted]
    if not bots:
        return {}
    await lock(connection, [_lock_name(bot_id) for bot_id in bots])
    return {row[0]: _Standing(*row[1:]) for row in await connection.execute(_STANDINGS, {"bots": bots})}


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
