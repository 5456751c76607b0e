"""Counts of failed sign-ins, and what creates were asked before, in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.authentication.domain.throttle import Attempts
from services.authentication.store.ports import Remembered
from services.authentication.store.tables import idempotency, sign_in_attempts

_lane = sign_in_attempts.c.lane
_ABOVE: Final = b"\xff" * 32
"""More than any key has behind a beginning that somebody asks for."""


class PostgresAttempts:
    """Implements `ports.AttemptStore` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, lanes: Collection[bytes]) -> dict[bytes, Attempts]:
        rows = await self._connection.execute(select(sign_in_attempts).where(_lane.in_(lanes)))
        return {row.lane: _attempts(row) for row in rows}

    async def lock(self, lanes: Sequence[bytes], now: datetime) -> dict[bytes, Attempts]:
        # The update that changes nothing locks the row, whether it was there or not; rows are taken in the order of the values.
        statement = insert(sign_in_attempts).values(
            [{"lane": lane, "failures": 0, "last_time": now, "next_time": now} for lane in lanes]
        )
        statement = statement.on_conflict_do_update(
            index_elements=["lane"], set_={"lane": statement.excluded.lane}
        )
        rows = await self._connection.execute(statement.returning(sign_in_attempts))
        return {row.lane: _attempts(row) for row in rows}

    async def put(self, counts: Mapping[bytes, Attempts]) -> None:
        statement = (
            update(sign_in_attempts)
            .where(_lane == bindparam("key"))
            .values(failures=bindparam("count"), last_time=bindparam("last"), next_time=bindparam("next"))
        )
        values = [
            {"key": lane, "count": count.failures, "last": count.last_time, "next": count.next_time}
            for lane, count in counts.items()
        ]
        await self._connection.execute(statement, values)

    async def forget(self, beginning: bytes) -> None:
        those = select(_lane).where(_lane >= beginning, _lane <= beginning + _ABOVE)
        locked = (await self._connection.execute(those.order_by(_lane).with_for_update())).scalars().all()
        if locked:
            await self._connection.execute(delete(sign_in_attempts).where(_lane.in_(locked)))


def _attempts(row: Row[Any]) -> Attempts:
    return Attempts(row.failures, row.last_time, row.next_time)


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
