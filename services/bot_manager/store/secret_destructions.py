"""The list of archived and deleted bots whose secrets are to be destroyed, on PostgreSQL. Implements `ports.SecretDestructions`.

A row is written in the transaction that archives or deletes the bot, so that no archiving that was acknowledged leaves secrets behind. All
times are the database's.
"""

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Interval, Row, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.ids import new_id
from services.bot_manager.domain.model import Bot
from services.bot_manager.store.ports import SecretDestruction
from services.bot_manager.store.tables.connecting import oauth_connects, secret_destructions

AFTERMATH: Final = timedelta(minutes=2)
"""How long after the end of a bot something may still be stored for it: a refreshed token, or what somebody has just given."""


async def demand(connection: AsyncConnection, bot: Bot) -> None:
    """Within the transaction that archives or deletes the bot: put its secrets on the list, and end a connect flow."""
    values = {
        "id": new_id(),
        "kind": bot.credentials.kind if bot.credentials else "",
        "reason": "the bot was archived",
        "create_time": func.now(),
        "end_time": None,
    }
    statement = insert(secret_destructions).values(bot_id=bot.id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["bot_id"], set_=values))
    await connection.execute(delete(oauth_connects).where(oauth_connects.c.bot_id == bot.id))


class PostgresSecretDestructions:
    """The list of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, limit: int) -> list[SecretDestruction]:
        """See the port."""
        table = secret_destructions
        settled = func.now() - literal(AFTERMATH, Interval())
        query = (
            select(table)
            .where(or_(table.c.end_time.is_(None), table.c.create_time <= settled))
            .order_by(table.c.create_time)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [_to_destruction(row) for row in await connection.execute(query)]

    async def done(self, destruction: SecretDestruction) -> None:
        """See the port."""
        table = secret_destructions
        async with self._database.transaction(concludes=False, wake=False) as connection:
            if destruction.again:
                await connection.execute(delete(table).where(*_is(destruction)))
            else:
                ended = update(table).where(*_is(destruction))
                await connection.execute(ended.values(end_time=func.now()))


def _is(destruction: SecretDestruction) -> tuple[ColumnElement[bool], ...]:
    table = secret_destructions
    return table.c.bot_id == destruction.bot_id, table.c.id == destruction.id


def _to_destruction(row: Row[Any]) -> SecretDestruction:
    return SecretDestruction(row.id, row.bot_id, row.kind, row.reason, again=row.end_time is not None)
