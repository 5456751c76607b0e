"""Counts of failed sign-ins, and what creates were asked before, in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.authentication.domain.throttle import Attempts
from services.authentication.store.ports import Remembered
from services.authentication.store.tables import idempotency

_ABOVE: Final = b"\xff" * 32
"""More than any key has behind a beginning that somebody asks for."""

# As text, since a sign-in waits for each of them: statements for any number of lanes would be put together anew each time.
_GET: Final = text("SELECT * FROM sign_in_attempts WHERE lane = ANY(CAST(:lanes AS bytea[]))")
# The update that changes nothing locks the row, whether it was there or not; rows are taken in the order of the lanes.
_LOCK: Final = text("""
INSERT INTO sign_in_attempts (lane, failures, last_time, next_time)
SELECT lane, 0, :now, :now FROM unnest(CAST(:lanes AS bytea[])) AS given(lane) ORDER BY lane
ON CONFLICT (lane) DO UPDATE SET lane = excluded.lane
RETURNING *
""")
_PUT: Final = text("""
UPDATE sign_in_attempts AS kept
   SET failures = given.failures, last_time = given.last_time, next_time = given.next_time
  FROM unnest(
         CAST(:lanes AS bytea[]), CAST(:failures AS integer[]), CAST(:last_times AS timestamptz[]),
         CAST(:next_times AS timestamptz[])
       ) AS given(lane, failures, last_time, next_time)
 WHERE kept.lane = given.lane
""")
_FORGET: Final = text("""
WITH locked AS (
  SELECT lane FROM sign_in_attempts WHERE lane BETWEEN :first AND :last ORDER BY lane FOR UPDATE
)
DELETE FROM sign_in_attempts AS kept USING locked WHERE kept.lane = locked.lane
""")


class PostgresAttempts:
    """Implements `ports.AttemptStore` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, lanes: Collection[bytes]) -> dict[bytes, Attempts]:
        rows = await self._connection.execute(_GET, {"lanes": list(lanes)})
        return {row.lane: _attempts(row) for row in rows}

    async def lock(self, lanes: Sequence[bytes], now: datetime) -> dict[bytes, Attempts]:
        rows = await self._connection.execute(_LOCK, {"lanes": list(lanes), "now": now})
        return {row.lane: _attempts(row) for row in rows}

    async def put(self, counts: Mapping[bytes, Attempts]) -> None:
        values = counts.values()
        await self._connection.execute(
            _PUT,
            {
                "lanes": list(counts),
                "failures": [count.failures for count in values],
                "last_times": [count.last_time for count in values],
                "next_times": [count.next_time for count in values],
            },
        )

    async def forget(self, beginning: bytes) -> None:
        await self._connection.execute(_FORGET, {"first": beginning, "last": beginning + _ABOVE})


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
