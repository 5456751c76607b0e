"""Who needs which version of the key, from the catalogue's tables: implements `domain.key_ports.KeyCatalogue`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from sqlalchemy import func, select, update

from mesh.database import Database
from services.secure_bot_data.domain.model import KeyUse, SecretRef, State, VersionRecord
from services.secure_bot_data.store.catalogue import to_version
from services.secure_bot_data.store.locking import lock
from services.secure_bot_data.store.tables import announcements, secret_versions, secrets

LOCK: Final = "key of all secrets"


class PostgresKeyCatalogue:
    """The catalogue of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def changing_key(self) -> AsyncIterator[None]:
        """See `KeyCatalogue.changing_key`."""
        async with self._database.transaction() as connection:
            await lock(connection, [LOCK])
            yield

    async def uses(self) -> Sequence[KeyUse]:
        """See `KeyCatalogue.uses`."""
        versions = secret_versions.c
        of_its_secret = (secrets.c.bot_id == versions.bot_id) & (secrets.c.name == versions.name)
        is_current = versions.version == func.coalesce(secrets.c.version, 0)
        query = (
            select(
                versions.key_version,
                func.count().filter(is_current).label("current_count"),
                func.count().filter(~is_current).label("earlier_count"),
            )
            .select_from(secret_versions.outerjoin(secrets, of_its_secret))
            .where(versions.state != State.DESTROYED.value)
            .group_by(versions.key_version)
            .order_by(versions.key_version)
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return [KeyUse(row.key_version, row.current_count, row.earlier_count) for row in rows]

    async def unsettled(self, before: datetime) -> int:
        """See `KeyCatalogue.unsettled`."""
        query = select(func.count()).where(announcements.c.create_time < before)
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar_one()

    async def versions(self, ref: SecretRef) -> Sequence[VersionRecord]:
        """See `KeyCatalogue.versions`."""
        query = select(secret_versions).where(
            secret_versions.c.bot_id == ref.bot_id, secret_versions.c.name == ref.name
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(secret_versions.c.version))
            return [to_version(row) for row in rows]

    async def enter_keys(self, ref: SecretRef, keys: Mapping[int, int]) -> None:
        """See `KeyCatalogue.enter_keys`."""
        async with self._database.transaction(concludes=False) as connection:
            for version, key_version in keys.items():
                await connection.execute(
                    update(secret_versions)
                    .where(
                        secret_versions.c.bot_id == ref.bot_id,
                        secret_versions.c.name == ref.name,
                        secret_versions.c.version == version,
                    )
                    .values(key_version=key_version)
                )
