"""Connect flows on PostgreSQL. Implements `ports.OAuthConnects`."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from services.bot_manager.store.ports import OAuthConnect
from services.bot_manager.store.tables.connecting import oauth_connects


class PostgresOAuthConnects:
    """The flows of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, connect: OAuthConnect) -> None:
        """See the port."""
        values = asdict(connect) | {"scopes": list(connect.scopes)}
        statement = insert(oauth_connects).values(values)
        async with self._database.transaction() as connection:
            await connection.execute(statement.on_conflict_do_update(index_elements=["bot_id"], set_=values))

    async def take(self, state_hash: bytes) -> OAuthConnect | None:
        """See the port."""
        statement = delete(oauth_connects).where(oauth_connects.c.state_hash == state_hash)
        async with self._database.transaction(concludes=False, wake=False) as connection:
            row = (await connection.execute(statement.returning(oauth_connects))).one_or_none()
        if row is None:
            return None
        return OAuthConnect(**dict(row._mapping) | {"scopes": tuple(row.scopes)})


async def prune_connects(connection: AsyncConnection, now: datetime) -> None:
    """Remove flows that nobody came back from."""
    await connection.execute(delete(oauth_connects).where(oauth_connects.c.expire_time < now))
