"""Counts of failed sign-ins, and what creates were asked before, in PostgreSQL."""

from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.authentication.domain.throttle import Attempts
from services.authentication.store.ports import Remembered
from services.authentication.store.tables import idempotency, sign_in_attempts


class PostgresAttempts:
    """Implements `ports.AttemptStore` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, lane: bytes, now: datetime) -> Attempts:
        # The update that changes nothing locks the row, whether it was there or not.
        statement = (
            insert(sign_in_attempts)
            .values(lane=lane, failures=0, last_time=now, next_time=now)
            .on_conflict_do_update(index_elements=["lane"], set_={"lane": lane})
            .returning(sign_in_attempts)
        )
        row = (await self._connection.execute(statement)).one()
        return Attempts(row.failures, row.last_time, row.next_time)

    async def put(self, lane: bytes, attempts: Attempts) -> None:
        await self._connection.execute(
            update(sign_in_attempts)
            .where(sign_in_attempts.c.lane == lane)
            .values(failures=attempts.failures, last_time=attempts.last_time, next_time=attempts.next_time)
        )

    async def clear(self, lane: bytes) -> None:
        await self._connection.execute(delete(sign_in_attempts).where(sign_in_attempts.c.lane == lane))


class PostgresIdempotency:
    """Implements `ports.IdempotencyStore` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, request_id: str, method: str, actor: str) -> Remembered | None:
        query = select(idempotency.c.fingerprint, idempotency.c.response_id).where(
            idempotency.c.request_id == request_id,
            idempotency.c.method == method,
            idempotency.c.actor == actor,
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else Remembered(row.fingerprint, row.response_id)

    async def remember(
        self, request_id: str, method: str, actor: str, what: Remembered, now: datetime
    ) -> None:
        await self._connection.execute(
            insert(idempotency).values(
                request_id=request_id,
                method=method,
                actor=actor,
                fingerprint=what.fingerprint,
                response_id=what.response_id,
                create_time=now,
            )
        )
