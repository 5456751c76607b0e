"""API keys in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.authentication.domain.api_key import ApiKey
from services.authentication.store.tables import api_keys

_SHOWN = [column for column in api_keys.c if column.name != "hash"]


class PostgresApiKeys:
    """Implements `ports.ApiKeyStore` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, key_id: str, user_id: str) -> ApiKey | None:
        return await self._one(and_(api_keys.c.id == key_id, api_keys.c.user_id == user_id))

    async def by_hash(self, key_hash: bytes) -> ApiKey | None:
        return await self._one(api_keys.c.hash == key_hash)

    async def _one(self, condition: ColumnElement[bool]) -> ApiKey | None:
        row = (await self._connection.execute(select(*_SHOWN).where(condition))).one_or_none()
        return None if row is None else _api_key(row)

    async def list(
        self, user_id: str, before_id: str | None, limit: int, active_at: datetime | None
    ) -> list[ApiKey]:
        query = select(*_SHOWN).where(api_keys.c.user_id == user_id)
        if active_at is not None:
            query = query.where(_active(active_at))
        if before_id is not None:
            query = query.where(api_keys.c.id < before_id)
        rows = await self._connection.execute(query.order_by(api_keys.c.id.desc()).limit(limit))
        return [_api_key(row) for row in rows]

    async def active(self, user_id: str, now: datetime) -> Sequence[str]:
        query = select(api_keys.c.id).where(api_keys.c.user_id == user_id, _active(now))
        return list((await self._connection.execute(query)).scalars())

    async def count_active(self, user_id: str, now: datetime) -> int:
        query = select(func.count()).select_from(api_keys).where(api_keys.c.user_id == user_id, _active(now))
        return int((await self._connection.execute(query)).scalar_one())

    async def insert(self, key: ApiKey, key_hash: bytes) -> None:
        await self._connection.execute(
            insert(api_keys).values(
                id=key.id,
                user_id=key.user_id,
                display_name=key.display_name,
                permissions=list(key.permissions),
                prefix=key.prefix,
                hash=key_hash,
                create_time=key.create_time,
                expire_time=key.expire_time,
            )
        )

    async def revoke(self, user_id: str, now: datetime, *, only: str | None = None) -> Sequence[str]:
        statement = update(api_keys).where(api_keys.c.user_id == user_id, _active(now))
        if only is not None:
            statement = statement.where(api_keys.c.id == only)
        statement = statement.values(revoke_time=now)
        return list((await self._connection.execute(statement.returning(api_keys.c.id))).scalars())

    async def note_use(self, key_id: str, now: datetime, before: datetime) -> None:
        stale = or_(api_keys.c.last_use_time.is_(None), api_keys.c.last_use_time <= before)
        await self._connection.execute(
            update(api_keys).where(api_keys.c.id == key_id, stale).values(last_use_time=now)
        )


def _active(now: datetime) -> ColumnElement[bool]:
    return and_(api_keys.c.revoke_time.is_(None), api_keys.c.expire_time > now)


def _api_key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        user_id=row.user_id,
        display_name=row.display_name,
        permissions=tuple(row.permissions),
        prefix=row.prefix,
        create_time=row.create_time,
        expire_time=row.expire_time,
        last_use_time=row.last_use_time,
        revoke_time=row.revoke_time,
    )
