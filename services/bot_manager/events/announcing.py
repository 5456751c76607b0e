"""Telling of something that happened, in the transaction that makes it true: it is told if and only if that commits.

    async with database.transaction() as connection:
        …
        await announce(connection, now, happenings.app_changed(app.id, "the app was made"))

Nothing else is to be done: those who watch, and webhooks, find it in the order of commits. Not for the publisher's hot path, whose
events are made of the posts' stories.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.context import current_call
from mesh.ids import new_id
from services.bot_manager.domain.happenings import Happening
from services.bot_manager.domain.model import ACTOR
from services.bot_manager.store.bulk import insert_rows
from services.bot_manager.store.tables.news import events


async def announce(connection: AsyncConnection, now: datetime, *happenings: Happening) -> None:
    """Write what happened into the caller's transaction. Several are told in the order given."""
    if happenings:
        await insert_rows(connection, events, [_values(one, now) for one in happenings])


def _values(happening: Happening, now: datetime) -> dict[str, Any]:
    call = current_call()
    return {
        "id": new_id(),
        "time": now,
        "type": happening.type.value,
        "bot_id": happening.bot_id or None,
        "post_id": happening.post_id or None,
        "schedule_id": happening.schedule_id or None,
        "app_id": happening.app_id or None,
        "media_id": happening.media_id or None,
        "webhook_id": happening.webhook_id or None,
        "actor": happening.actor or (call.actor if call and call.principal else ACTOR),
        "request_id": call.request_id if call else "",
        "message": happening.message,
        "detail": None if happening.detail is None else dict(happening.detail),
    }
