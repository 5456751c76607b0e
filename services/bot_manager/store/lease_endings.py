"""The list of stopped bots whose leases are to be ended, on PostgreSQL. Implements `ports.LeaseEndings`.

A row is written in the transaction that stops the bot, so that no stop that was acknowledged is forgotten; a bot that is stopped anew
begins its row anew. All times are the database's.
"""

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Interval, Row, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.ids import new_id
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.store.ports import LeaseEnding
from services.bot_manager.store.tables import bots, lease_endings

STOPPED: Final = frozenset({BotState.PAUSED, BotState.ARCHIVED})
"""States in which a bot's secrets are not lent for publishing."""
AFTERMATH: Final = timedelta(seconds=30)
"""How long after a stop a lease may still be granted that was asked for before it: a transaction's longest life and a call's deadline."""


async def demand(connection: AsyncConnection, before: Bot, after: Bot) -> None:
    """Within the transaction that changes the bot: put it on the list if that stops it."""
    if after.state is before.state or after.state not in STOPPED:
        return
    values = {
        "id": new_id(),
        "reason": f"bot {after.state.lower()}",
        "create_time": func.now(),
        "end_time": None,
    }
    statement = insert(lease_endings).values(bot_id=after.id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["bot_id"], set_=values))


class PostgresLeaseEndings:
    """The list of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, limit: int) -> list[LeaseEnding]:
        """See the port."""
        settled = func.now() - literal(AFTERMATH, Interval())
        query = (
            select(lease_endings, bots.c.state)
            .outerjoin(bots, bots.c.id == lease_endings.c.bot_id)
            .where(or_(lease_endings.c.end_time.is_(None), lease_endings.c.create_time <= settled))
            .order_by(lease_endings.c.create_time)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [_to_ending(row) for row in await connection.execute(query)]

    async def done(self, ending: LeaseEnding) -> None:
        """See the port."""
        async with self._database.transaction(concludes=False, wake=False) as connection:
            if ending.again:
                await connection.execute(delete(lease_endings).where(*_is(ending)))
            else:
                ended = update(lease_endings).where(*_is(ending))
                await connection.execute(ended.values(end_time=func.now()))


def _is(ending: LeaseEnding) -> tuple[ColumnElement[bool], ...]:
    return lease_endings.c.bot_id == ending.bot_id, lease_endings.c.id == ending.id


def _to_ending(row: Row[Any]) -> LeaseEnding:
    return LeaseEnding(
        row.id,
        row.bot_id,
        row.reason,
        again=row.end_time is not None,
        stopped=row.state is None or BotState(row.state) in STOPPED,
    )
