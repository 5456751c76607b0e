"""The numbered feed of revocations in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.authentication.domain.revocation import Revocation, RevocationKind, kept_until
from services.authentication.store.tables import revocation_feed, revocations


class PostgresRevocations:
    """Implements `ports.RevocationStore` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.newest = 0
        """Number of the last entry added here; 0 if none was."""

    async def add(self, kind: RevocationKind, target_ids: Sequence[str], now: datetime) -> None:
        if not target_ids:
            return
        statement = update(revocation_feed).values(sequence=revocation_feed.c.sequence + len(target_ids))
        newest = (
            await self._connection.execute(statement.returning(revocation_feed.c.sequence))
        ).scalar_one()
        first = newest - len(target_ids) + 1
        await self._connection.execute(
            insert(revocations),
            [
                {
                    "sequence": first + index,
                    "kind": kind.value,
                    "target_id": target_id,
                    "revoke_time": now,
                    "expire_time": kept_until(kind, now),
                }
                for index, target_id in enumerate(target_ids)
            ],
        )
        self.newest = newest

    async def newest_sequence(self) -> int:
        return int((await self._connection.execute(select(revocation_feed.c.sequence))).scalar_one())

    async def after(self, sequence: int, now: datetime, limit: int) -> list[Revocation]:
        query = (
            select(revocations)
            .where(revocations.c.sequence > sequence, revocations.c.expire_time > now)
            .order_by(revocations.c.sequence)
            .limit(limit)
        )
        return [_revocation(row) for row in await self._connection.execute(query)]


def _revocation(row: Row[Any]) -> Revocation:
    return Revocation(
        sequence=row.sequence,
        kind=RevocationKind(row.kind),
        target_id=row.target_id,
        revoke_time=row.revoke_time,
        expire_time=row.expire_time,
    )
