"""What creates were asked before, for 24 hours: a repeated request id answers the first result."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.errors import InvalidArgument
from services.bot_manager.store.ports import RequestKey
from services.bot_manager.store.tables import idempotency
from services.bot_manager.store.tables.imports import imports

KEEP: Final = timedelta(hours=24)


async def first_result(
    connection: AsyncConnection, key: RequestKey, response_id: str, now: datetime
) -> str | None:
    """None if the key is new: it then stands for `response_id`. Else the id of what it made before.

    Waits for a call with the same key that is under way. Raises InvalidArgument (IDEMPOTENCY_KEY_REUSED) if another thing was asked.
    """
    await connection.execute(delete(idempotency).where(*_same(key), idempotency.c.create_time <= now - KEEP))
    made = await connection.execute(
        insert(idempotency)
        .values(
            request_id=key.request_id,
            method=key.method,
            actor=key.actor,
            request_hash=key.request_hash,
            response_id=response_id,
            create_time=now,
        )
        .on_conflict_do_nothing()
        .returning(idempotency.c.request_id)
    )
    return await recall(connection, key, now) if made.one_or_none() is None else None


async def recall(connection: AsyncConnection, key: RequestKey, now: datetime) -> str | None:
    """The id that the key stands for; None if it is new. Raises InvalidArgument (IDEMPOTENCY_KEY_REUSED) if another thing was asked."""
    query = select(idempotency.c.request_hash, idempotency.c.response_id).where(
        *_same(key), idempotency.c.create_time > now - KEEP
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    if bytes(row.request_hash) != key.request_hash:
        raise InvalidArgument(
            "IDEMPOTENCY_KEY_REUSED", "request_id was used for another request", field="request_id"
        )
    return str(row.response_id)


async def prune_requests(connection: AsyncConnection, now: datetime) -> None:
    """Remove what is older than a day."""
    await connection.execute(delete(idempotency).where(idempotency.c.create_time < now - KEEP))
    await connection.execute(delete(imports).where(imports.c.create_time < now - KEEP))


def _same(key: RequestKey) -> tuple[ColumnElement[bool], ...]:
    return (
        idempotency.c.request_id == key.request_id,
        idempotency.c.method == key.method,
        idempotency.c.actor == key.actor,
    )
