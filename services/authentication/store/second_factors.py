"""Second factors and recovery codes in PostgreSQL.

Each use is one conditional update: of any number of callers with the same code, one finds it unused.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.authentication.domain.factor import SecondFactor
from services.authentication.store.tables import recovery_codes, second_factors


class PostgresSecondFactors:
    """Implements `ports.SecondFactorStore` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, user_id: str) -> SecondFactor | None:
        query = select(second_factors).where(second_factors.c.user_id == user_id)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            return None
        return SecondFactor(row.user_id, row.sealed_secret, row.create_time, row.confirm_time)

    async def put(self, factor: SecondFactor) -> bool:
        fresh = {"sealed_secret": factor.sealed_secret, "create_time": factor.create_time, "last_step": 0}
        statement = (
            insert(second_factors)
            .values(user_id=factor.user_id, **fresh)
            .on_conflict_do_update(
                index_elements=["user_id"], set_=fresh, where=second_factors.c.confirm_time.is_(None)
            )
            .returning(second_factors.c.user_id)
        )
        return (await self._connection.execute(statement)).one_or_none() is not None

    async def confirm(self, factor: SecondFactor, step: int, codes: Sequence[bytes], now: datetime) -> bool:
        statement = (
            update(second_factors)
            .where(
                second_factors.c.user_id == factor.user_id,
                second_factors.c.sealed_secret == factor.sealed_secret,
                second_factors.c.confirm_time.is_(None),
            )
            .values(confirm_time=now, last_step=step)
            .returning(second_factors.c.user_id)
        )
        if (await self._connection.execute(statement)).one_or_none() is None:
            return False
        await self._connection.execute(
            insert(recovery_codes), [{"user_id": factor.user_id, "hash": code} for code in codes]
        )
        return True

    async def use_step(self, factor: SecondFactor, step: int) -> bool:
        statement = (
            update(second_factors)
            .where(
                second_factors.c.user_id == factor.user_id,
                second_factors.c.sealed_secret == factor.sealed_secret,
                second_factors.c.confirm_time.is_not(None),
                second_factors.c.last_step < step,
            )
            .values(last_step=step)
            .returning(second_factors.c.user_id)
        )
        return (await self._connection.execute(statement)).one_or_none() is not None

    async def use_code(self, factor: SecondFactor, code: bytes, now: datetime) -> bool:
        statement = (
            update(recovery_codes)
            .where(
                recovery_codes.c.user_id == factor.user_id,
                recovery_codes.c.hash == code,
                recovery_codes.c.use_time.is_(None),
            )
            .values(use_time=now)
            .returning(recovery_codes.c.user_id)
        )
        return (await self._connection.execute(statement)).one_or_none() is not None

    async def delete(self, user_id: str) -> bool:
        statement = delete(second_factors).where(second_factors.c.user_id == user_id)
        deleted = await self._connection.execute(statement.returning(second_factors.c.user_id))
        return deleted.one_or_none() is not None
