"""Webhooks on PostgreSQL."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import FailedPrecondition, NotFound
from services.bot_manager.domain.happenings import EventType
from services.bot_manager.domain.webhooks import Webhook, WebhookState
from services.bot_manager.store.ports import RequestKey
from services.bot_manager.store.requests import first_result
from services.bot_manager.store.tables.base import EVENT_NUMBERS
from services.bot_manager.store.tables.news import webhooks


class PostgresWebhooks:
    """Every method raises Unavailable or DeadlineExceeded if the database cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, webhook: Webhook, key: RequestKey | None, limit: int) -> Webhook:
        """Store a new one; a repeat with the same key answers the first. Raises FailedPrecondition (INVALID_STATE) beyond `limit`."""
        async with self._database.transaction() as connection:
            first = await first_result(connection, key, webhook.id, webhook.create_time) if key else None
            if first is not None:
                return await read_webhook(connection, first)
            count = (await connection.execute(select(func.count()).select_from(webhooks))).scalar_one()
            if count >= limit:
                raise FailedPrecondition("INVALID_STATE", f"there are {count} webhooks already; delete one")
            webhook = replace(webhook, after_number=await _next_number(connection))
            await connection.execute(insert(webhooks), [{"id": webhook.id, **_values(webhook)}])
        return webhook

    async def get(self, webhook_id: str) -> Webhook:
        """Raises NotFound (WEBHOOK_NOT_FOUND)."""
        async with self._database.read() as connection:
            return await read_webhook(connection, webhook_id)

    async def list(self, after: str, limit: int) -> list[Webhook]:
        """Newest first, behind the one with the id `after`; empty for the beginning."""
        query = select(webhooks).order_by(webhooks.c.id.desc()).limit(limit)
        if after:
            query = query.where(webhooks.c.id < after)
        async with self._database.read() as connection:
            return [to_webhook(row) for row in await connection.execute(query)]

    async def change(self, webhook_id: str, edit: Callable[[Webhook, int], Webhook]) -> Webhook:
        """Store what `edit` makes of it; it sees the webhook under its lock, and the number behind which lies what happens from now on.

        Raises NotFound, and what `edit` raises.
        """
        async with self._database.transaction() as connection:
            stored = await read_webhook(connection, webhook_id, lock=True)
            edited = edit(stored, await _next_number(connection))
            await write_webhook(connection, edited)
        return edited

    async def delete(self, webhook_id: str, check: Callable[[Webhook], None]) -> None:
        """Delete it with its deliveries unless `check` raises. Raises NotFound."""
        async with self._database.transaction() as connection:
            check(await read_webhook(connection, webhook_id, lock=True))
            await connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))


async def read_webhook(connection: AsyncConnection, webhook_id: str, *, lock: bool = False) -> Webhook:
    """Raises NotFound (WEBHOOK_NOT_FOUND)."""
    query = select(webhooks).where(webhooks.c.id == webhook_id)
    row = (await connection.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    if row is None:
        raise NotFound("WEBHOOK_NOT_FOUND", "no such webhook", metadata={"webhookId": webhook_id})
    return to_webhook(row)


async def active_webhooks(connection: AsyncConnection) -> Sequence[Webhook]:
    """Those that get what happens."""
    query = select(webhooks).where(webhooks.c.state == WebhookState.ACTIVE.value).order_by(webhooks.c.id)
    return [to_webhook(row) for row in await connection.execute(query)]


async def write_webhook(connection: AsyncConnection, webhook: Webhook) -> None:
    """Replace what is stored of it."""
    await connection.execute(update(webhooks).where(webhooks.c.id == webhook.id).values(_values(webhook)))


async def _next_number(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(EVENT_NUMBERS.next_value()))).scalar_one())


def _values(webhook: Webhook) -> dict[str, Any]:
    return {
        "display_name": webhook.display_name,
        "url": webhook.url,
        "types": sorted(webhook.types),
        "bot_ids": sorted(webhook.bot_ids),
        "state": webhook.state.value,
        "state_message": webhook.state_message,
        "secret": webhook.secret,
        "previous_secret": webhook.previous_secret,
        "previous_secret_end_time": webhook.previous_secret_end_time,
        "after_number": webhook.after_number,
        "failing_since_time": webhook.failing_since_time,
        "failure_count": webhook.failure_count,
        "rest_end_time": webhook.rest_end_time,
        "last_success_time": webhook.last_success_time,
        "creator": webhook.creator,
        "version": webhook.version,
        "create_time": webhook.create_time,
        "update_time": webhook.update_time,
    }


def to_webhook(row: Row[Any]) -> Webhook:
    """The webhook of a row."""
    return Webhook(
        id=row.id,
        url=row.url,
        create_time=row.create_time,
        update_time=row.update_time,
        display_name=row.display_name,
        types=frozenset(EventType(one) for one in row.types),
        bot_ids=frozenset(row.bot_ids),
        state=WebhookState(row.state),
        state_message=row.state_message,
        secret=row.secret,
        previous_secret=row.previous_secret,
        previous_secret_end_time=row.previous_secret_end_time,
        after_number=row.after_number,
        failing_since_time=row.failing_since_time,
        failure_count=row.failure_count,
        rest_end_time=row.rest_end_time,
        last_success_time=row.last_success_time,
        creator=row.creator,
        version=row.version,
    )
