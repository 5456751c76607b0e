"""The store on PostgreSQL: transactions with the parts that work on them, and the clearing of what is over."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.audit import AuditEvent, AuditTrail
from mesh.database import Database
from services.authentication.domain.events import Event
from services.authentication.domain.factor import FORGET_UNCONFIRMED_AFTER
from services.authentication.domain.throttle import FORGET_AFTER
from services.authentication.store import locks
from services.authentication.store.api_keys import PostgresApiKeys
from services.authentication.store.attempts import PostgresAttempts, PostgresIdempotency
from services.authentication.store.keys import PostgresKeys
from services.authentication.store.revocations import PostgresRevocations
from services.authentication.store.second_factors import PostgresSecondFactors
from services.authentication.store.sessions import PostgresSessions
from services.authentication.store.tables import (
    api_keys,
    idempotency,
    revocations,
    second_factors,
    sessions,
    sign_in_attempts,
)
from services.authentication.store.users import PostgresUsers

KEEP_ENDED: Final = timedelta(days=30)
KEEP_REQUESTS: Final = timedelta(hours=24)
KEEP_API_KEYS: Final = timedelta(days=366)


class PostgresUnit:
    """Implements `ports.Unit` on one connection."""

    def __init__(self, connection: AsyncConnection, audit: AuditTrail) -> None:
        self._connection = connection
        self._audit = audit
        self.users = PostgresUsers(connection)
        self.sessions = PostgresSessions(connection)
        self.second_factors = PostgresSecondFactors(connection)
        self.api_keys = PostgresApiKeys(connection)
        self.keys = PostgresKeys(connection)
        self.attempts = PostgresAttempts(connection)
        self.idempotency = PostgresIdempotency(connection)
        self.revocations = PostgresRevocations(connection)

    async def note(self, event: Event) -> None:
        await self._audit.note(
            self._connection,
            AuditEvent(event.action, event.resource, event.actor, event.session_id, event.warning),
        )

    async def lock_accounts(self) -> None:
        await locks.take(self._connection, locks.ACCOUNTS)


class PostgresStore:
    """Implements `ports.Store`."""

    def __init__(
        self, database: Database, audit: AuditTrail, revoked: Callable[[int], None] = lambda number: None
    ) -> None:
        """`revoked` is told the number of the newest revocation once it is committed; it must not block or raise."""
        self._database = database
        self._audit = audit
        self._revoked = revoked

    @asynccontextmanager
    async def transaction(self, *, concludes: bool = True) -> AsyncIterator[PostgresUnit]:
        # What concludes no call has no record in the outbox that somebody would have to be woken for.
        async with self._database.transaction(concludes=concludes, wake=concludes) as connection:
            unit = PostgresUnit(connection, self._audit)
            yield unit
        if unit.revocations.newest:
            self._revoked(unit.revocations.newest)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[PostgresUnit]:
        async with self._database.read() as connection:
            yield PostgresUnit(connection, self._audit)

    async def prune(self, now: datetime) -> None:
        """Remove sessions with their tokens a month after their end, counts that are forgotten, request ids that have lapsed,
        revocations that refuse nothing any more, second factors that nobody confirmed, and API keys a year after their end."""
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
            await connection.execute(delete(revocations).where(revocations.c.expire_time < now))
            await connection.execute(
                delete(second_factors).where(
                    second_factors.c.confirm_time.is_(None),
                    second_factors.c.create_time < now - FORGET_UNCONFIRMED_AFTER,
                )
            )
            gone = now - KEEP_API_KEYS
            await connection.execute(
                delete(api_keys).where((api_keys.c.expire_time < gone) | (api_keys.c.revoke_time < gone))
            )
