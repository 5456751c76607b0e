"""Signing keys and other sealed keys in PostgreSQL."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.authentication.domain.signing import KeyState, SigningKey
from services.authentication.store import locks
from services.authentication.store.tables import sealed_keys, signing_keys


class PostgresKeys:
    """Implements `ports.KeyStore` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self) -> None:
        await locks.take(self._connection, locks.SIGNING_KEYS)

    async def list(self) -> list[SigningKey]:
        query = select(signing_keys).where(signing_keys.c.state != KeyState.RETIRED.value)
        rows = await self._connection.execute(query.order_by(signing_keys.c.create_time, signing_keys.c.id))
        return [
            SigningKey(
                id=row.id,
                state=KeyState(row.state),
                public_key=row.public_key,
                sealed_private_key=row.sealed_private_key,
                create_time=row.create_time,
                activate_time=row.activate_time,
                retire_time=row.retire_time,
            )
            for row in rows
        ]

    async def insert(self, key: SigningKey) -> bool:
        statement = insert(signing_keys).values(
            id=key.id,
            state=key.state.value,
            public_key=key.public_key,
            sealed_private_key=key.sealed_private_key,
            create_time=key.create_time,
            activate_time=key.activate_time,
            retire_time=key.retire_time,
        )
        written = await self._connection.execute(
            statement.on_conflict_do_nothing().returning(signing_keys.c.id)
        )
        return written.one_or_none() is not None

    async def update(self, key: SigningKey) -> None:
        await self._connection.execute(
            update(signing_keys)
            .where(signing_keys.c.id == key.id)
            .values(state=key.state.value, activate_time=key.activate_time, retire_time=key.retire_time)
        )

    async def sealed(self, name: str) -> str | None:
        query = select(sealed_keys.c.sealed).where(sealed_keys.c.name == name)
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def insert_sealed(self, name: str, sealed: str, now: datetime) -> None:
        statement = insert(sealed_keys).values(name=name, sealed=sealed, create_time=now)
        await self._connection.execute(statement.on_conflict_do_nothing())
