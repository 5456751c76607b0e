"""Ticks: moments at which somebody looked, between which lie the events of the transactions that committed between them.

A position in ids or numbers would miss what commits late; `pg_snapshot_xmin` would make everybody wait for the longest transaction of
the whole server. Two snapshots miss nothing and wait for nobody: a row lies between them if its transaction was not ended in the first
and is visible in the second. The first half is two looks into an index, since all that had not ended began later or was running.

Whoever makes a tick holds a lock meanwhile, so ticks follow one another; a tick is made only if something was written since the last.
Ticks outlive the events by nothing: what lies behind a tick that is gone cannot be read any more.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from loguru import logger
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Table,
    Text,
    and_,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.expression import literal
from sqlalchemy.types import UserDefinedType

from mesh.database import Database
from services.bot_manager.domain.snapshots import Snapshot
from services.bot_manager.store.tables import post_events
from services.bot_manager.store.tables.news import event_ticks, events

TABLES: Final = (post_events, events)
_LOCK: Final = func.hashtextextended(func.current_schema() + ".event_ticks", 0)


class _Xid8(UserDefinedType[str]):
    """The id of a transaction with its epoch."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


class _PgSnapshot(UserDefinedType[str]):
    """Which transactions had ended."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "pg_snapshot"


@dataclass(frozen=True, slots=True)
class Tick:
    """The newest tick; `made`: just now, so there is something new behind the one before."""

    number: int
    made: bool


class Ticks:
    """See the module."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tick(self) -> Tick:
        """Look now: whatever is committed by now lies at or before the tick that is answered. Raises Unavailable, DeadlineExceeded."""
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            number, last = await _newest(connection)
            if last is not None and not await self._anything_since(connection, last):
                return Tick(number, made=False)
            now = (await connection.execute(select(cast(func.pg_current_snapshot(), Text)))).scalar_one()
            if last is not None and last.next_id > Snapshot.parse(now).next_id:
                await _begin_anew(connection, Snapshot.parse(now))
            await connection.execute(insert(event_ticks).values(number=number + 1, snapshot=now))
        return Tick(number + 1, made=True)

    async def oldest(self) -> int:
        """The first tick that is kept; 0 if there is none. Raises Unavailable, DeadlineExceeded."""
        async with self._database.read() as connection:
            return (await connection.execute(select(func.min(event_ticks.c.number)))).scalar_one() or 0

    async def prune(self, before: datetime) -> None:
        """Forget ticks that are older, but for the newest of them, and the events that lie before that one."""
        old = select(func.max(event_ticks.c.number)).where(event_ticks.c.create_time < before)
        async with self._database.transaction(concludes=False, wake=False) as connection:
            kept = (await connection.execute(old)).scalar_one()
            if kept is None:
                return
            await connection.execute(delete(event_ticks).where(event_ticks.c.number < kept))
            query = select(event_ticks.c.snapshot).where(event_ticks.c.number == kept)
            first = Snapshot.parse((await connection.execute(query)).scalar_one())
            foreign = and_(events.c.transaction.is_(None), events.c.time < before)
            await connection.execute(delete(events).where(or_(events.c.transaction < first.oldest, foreign)))

    async def _anything_since(self, connection: AsyncConnection, last: Snapshot) -> bool:
        """Whether a row was committed since, or the server's count of transactions is younger than the tick."""
        found: list[ColumnElement[bool]] = []
        for table in TABLES:
            # The end of the index, whatever PostgreSQL believes of the rows: a search for any row might read them all.
            newest = select(func.max(table.c.transaction)).scalar_subquery()
            found.append(func.coalesce(newest >= last.next_id, False))
            if last.running:
                found.append(select(table.c.id).where(_was_running(table, last)).exists())
        xmax = func.pg_snapshot_xmax(func.pg_current_snapshot())
        found.append(cast(cast(xmax, Text), BigInteger) < last.next_id)
        return bool((await connection.execute(select(or_(*found)))).scalar_one())


def _was_running(table: Table, snapshot: Snapshot) -> ColumnElement[bool]:
    running = cast(literal(list(snapshot.running), ARRAY(BigInteger)), ARRAY(BigInteger))
    found: ColumnElement[bool] = table.c.transaction == func.any(running)
    return found


def between(table: Table, first: Snapshot, second: Snapshot, second_text: str) -> ColumnElement[bool]:
    """Rows whose transaction committed between the two snapshots. `second_text` is the second as PostgreSQL wrote it."""
    column: ColumnElement[Any] = table.c.transaction
    visible = func.pg_visible_in_snapshot(
        cast(cast(column, Text), _Xid8()), cast(literal(second_text, Text), _PgSnapshot())
    )
    began_later = and_(column >= first.next_id, column < second.next_id)
    return and_(or_(began_later, _was_running(table, first)), visible)


async def _newest(connection: AsyncConnection) -> tuple[int, Snapshot | None]:
    query = (
        select(event_ticks.c.number, event_ticks.c.snapshot).order_by(event_ticks.c.number.desc()).limit(1)
    )
    row = (await connection.execute(query)).one_or_none()
    return (0, None) if row is None else (row.number, Snapshot.parse(row.snapshot))


async def _begin_anew(connection: AsyncConnection, now: Snapshot) -> None:
    """The data came from another server, whose count of transactions was further on: ids in them mean nothing here."""
    logger.warning("events begin anew on this server")
    await connection.execute(delete(event_ticks))
    for table in TABLES:
        foreign = table.c.transaction >= now.next_id
        await connection.execute(update(table).where(foreign).values(transaction=None))
