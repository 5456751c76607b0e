"""Signing keys in PostgreSQL."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.authentication.domain.signing import KeyState, SigningKey
from services.authentication.store.tables import signing_keys


class PostgresKeys:
    """Implements `ports.KeyStore` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

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
