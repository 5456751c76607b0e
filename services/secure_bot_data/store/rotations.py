"""Claims to replace secrets in PostgreSQL: implements `domain.rotating.Rotations`.

Whoever claims holds the secret's row; a writer that records a version waits for it, and the other way round, so a claim is always of
the version that is current when it is made. Times are the database's.
"""

from typing import Any

from loguru import logger
from sqlalchemy import ColumnElement, Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import NotFound
from services.secure_bot_data.domain.model import SecretRef, State
from services.secure_bot_data.domain.rotating import Claim, Claimed, Decide, Standing, released
from services.secure_bot_data.store.moment import database_time
from services.secure_bot_data.store.tables import rotations, secret_versions, secrets


class PostgresRotations:
    """The claims of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, ref: SecretRef, decide: Decide) -> Claimed:
        """See `Rotations.claim`."""
        async with self._database.transaction() as connection:
            claimed = decide(await _standing(connection, ref))
            await _enter(connection, ref, claimed.claim)
        return claimed

    async def release(self, ref: SecretRef, rotation_id: str, *, settled: bool) -> bool:
        """See `Rotations.release`."""
        async with self._database.transaction() as connection:
            claim = await _last(connection, ref)
            if claim is None or claim.id != rotation_id or not claim.in_force:
                return False
            held = claim.holds(await database_time(connection))
            await _enter(connection, ref, released(claim, settled=settled))
        return held


async def conclude(connection: AsyncConnection, ref: SecretRef, version: int, rotation_id: str) -> None:
    """Within the record of `version`: whichever claim of an earlier one there is has its successor."""
    statement = update(rotations).where(*_is(ref), rotations.c.version < version)
    ended = await connection.execute(statement.values(in_force=False, settled=True).returning(rotations.c.id))
    if any(row.id != rotation_id for row in ended):
        logger.bind(bot_id=ref.bot_id, secret_name=ref.name, version=version).warning(
            "secret replaced after its claim had passed to another"
        )


async def _standing(connection: AsyncConnection, ref: SecretRef) -> Standing:
    query = select(secrets.c.version, secrets.c.expire_time)
    query = query.where(secrets.c.bot_id == ref.bot_id, secrets.c.name == ref.name)
    current = (await connection.execute(query.with_for_update())).one_or_none()
    if current is None:
        raise NotFound("SECRET_NOT_FOUND", "no such secret")
    known = select(secret_versions.c.version, secret_versions.c.state, secret_versions.c.rewrapped_from)
    known = known.where(secret_versions.c.bot_id == ref.bot_id, secret_versions.c.name == ref.name)
    versions = {row.version: row for row in await connection.execute(known)}
    return Standing(
        now=await database_time(connection),
        version=current.version,
        state=State(versions[current.version].state),
        expire_time=current.expire_time,
        rewrapped={number: row.rewrapped_from for number, row in versions.items() if row.rewrapped_from},
        last=await _last(connection, ref),
    )


async def _last(connection: AsyncConnection, ref: SecretRef) -> Claim | None:
    row = (await connection.execute(select(rotations).where(*_is(ref)).with_for_update())).one_or_none()
    return None if row is None else _to_claim(row)


async def _enter(connection: AsyncConnection, ref: SecretRef, claim: Claim) -> None:
    values = {
        "id": claim.id,
        "version": claim.version,
        "holder": claim.holder,
        "create_time": claim.create_time,
        "expire_time": claim.expire_time,
        "in_force": claim.in_force,
        "settled": claim.settled,
    }
    statement = insert(rotations).values(bot_id=ref.bot_id, name=ref.name, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["bot_id", "name"], set_=values))


def _is(ref: SecretRef) -> tuple[ColumnElement[bool], ...]:
    return rotations.c.bot_id == ref.bot_id, rotations.c.name == ref.name


def _to_claim(row: Row[Any]) -> Claim:
    return Claim(
        id=row.id,
        version=row.version,
        holder=row.holder,
        create_time=row.create_time,
        expire_time=row.expire_time,
        in_force=row.in_force,
        settled=row.settled,
    )
