"""The store on PostgreSQL: transactions with the parts that work on them, and the clearing of what is over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from services.authentication.domain.throttle import FORGET_AFTER
from services.authentication.store.attempts import PostgresAttempts, PostgresIdempotency
from services.authentication.store.keys import PostgresKeys
from services.authentication.store.sessions import PostgresSessions
from services.authentication.store.tables import idempotency, sessions, sign_in_attempts
from services.authentication.store.users import PostgresUsers

ACCOUNTS_LOCK: Final = 0x6163636F
"""Advisory locks are the database's, not the schema's: the upper half of the key is this service's own."""
LOCK_NAMESPACE: Final = 0x61757468
KEEP_ENDED: Final = timedelta(days=30)
KEEP_REQUESTS: Final = timedelta(hours=24)


class PostgresUnit:
    """Implements `ports.Unit` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.users = PostgresUsers(connection)
        self.sessions = PostgresSessions(connection)
        self.keys = PostgresKeys(connection)
        self.attempts = PostgresAttempts(connection)
        self.idempotency = PostgresIdempotency(connection)

    async def lock_accounts(self) -> None:
        await self._connection.execute(
            text("SELECT pg_advisory_xact_lock(:namespace, :lock)"),
            {"namespace": LOCK_NAMESPACE, "lock": ACCOUNTS_LOCK},
        )


class PostgresStore:
    """Implements `ports.Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def transaction(self, *, concludes: bool = True) -> AsyncIterator[PostgresUnit]:
        async with self._database.transaction(concludes=concludes) as connection:
            yield PostgresUnit(connection)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[PostgresUnit]:
        async with self._database.read() as connection:
            yield PostgresUnit(connection)

    async def prune(self, now: datetime) -> None:
        """Remove sessions with their tokens a month after their end, counts that are forgotten, and request ids that have lapsed."""
        over = now - KEEP_ENDED
        async with self._database.transaction(wake=False) as connection:
            await connection.execute(
                delete(sessions).where((sessions.c.expire_time < over) | (sessions.c.end_time < over))
            )
            await connection.execute(
                delete(sign_in_attempts).where(sign_in_attempts.c.last_time < now - FORGET_AFTER)
            )
            await connection.execute(
                delete(idempotency).where(idempotency.c.create_time < now - KEEP_REQUESTS)
            )
