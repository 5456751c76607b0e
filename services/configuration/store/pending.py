"""Changes on their way, in PostgreSQL, and the settings they hold. Knows no rule."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.configuration.domain.changes import Cause
from services.configuration.domain.pending import FINAL, Item, PendingChange, State
from services.configuration.domain.rollout_plan import Guard, RolloutPlan
from services.configuration.store.documents import Document, stored_document, stored_from
from services.configuration.store.tables import pending_settings, setting_changes


class PendingTable:
    """Implements `ports.Pending` on one connection, and `put` for the writer."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, change_id: str) -> PendingChange | None:
        """See the port."""
        query = select(setting_changes).where(setting_changes.c.id == change_id)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _change(row)

    async def page(self, before: str, limit: int, state: State | None) -> Sequence[PendingChange]:
        """See the port."""
        query = select(setting_changes).order_by(setting_changes.c.id.desc()).limit(limit)
        if before:
            query = query.where(setting_changes.c.id < before)
        if state is not None:
            query = query.where(setting_changes.c.state == state.value)
        return [_change(row) for row in await self._connection.execute(query)]

    async def driven(self, now: datetime, limit: int) -> Sequence[PendingChange]:
        """See the port."""
        rolling = setting_changes.c.state == State.ROLLING_OUT.value
        query = (
            select(setting_changes)
            .where(setting_changes.c.next_time.is_not(None), or_(setting_changes.c.next_time <= now, rolling))
            .order_by(setting_changes.c.next_time, setting_changes.c.id)
            .limit(limit)
        )
        return [_change(row) for row in await self._connection.execute(query)]

    async def put(self, change: PendingChange) -> None:
        """Make it what is stored. It holds its settings until it is final."""
        columns = _columns(change)
        statement = insert(setting_changes).values(id=change.id, **columns)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=columns))
        if change.state in FINAL:
            await self._connection.execute(
                delete(pending_settings).where(pending_settings.c.change_id == change.id)
            )

    async def hold(self, change: PendingChange) -> None:
        """No other change of its settings from now on. They must be free."""
        await self._connection.execute(
            insert(pending_settings), [{"key": key, "change_id": change.id} for key in change.keys]
        )


def _columns(change: PendingChange) -> dict[str, Any]:
    return {
        "state": change.state.value,
        "items": [_item_document(item) for item in change.items],
        "actor": change.actor,
        "comment": change.comment,
        "plan": _plan_document(change.plan),
        "approver": change.approver,
        "decider": change.decider,
        "outcome": change.outcome,
        "steps_taken": change.steps_taken,
        "share_percent": change.share_percent,
        "revision": change.revision,
        "staged_revision": change.staged_revision,
        "create_time": change.create_time,
        "update_time": change.update_time,
        "expire_time": change.expire_time,
        "next_time": change.next_time,
    }


def _change(row: Row[*tuple[Any, ...]]) -> PendingChange:
    values = row._asdict()
    return PendingChange(
        **values
        | {
            "state": State(values["state"]),
            "items": tuple(_item(document) for document in values["items"]),
            "plan": _plan(values["plan"]),
        }
    )


def _item_document(item: Item) -> Document:
    return {
        "key": item.key,
        "old": stored_document(item.old),
        "new": stored_document(item.new),
        "cause": item.cause.value,
        "base_revision": item.base_revision,
    }


def _item(document: Document) -> Item:
    return Item(
        document["key"],
        stored_from(document["old"]),
        stored_from(document["new"]),
        Cause(document["cause"]),
        document["base_revision"],
    )


def _plan_document(plan: RolloutPlan | None) -> Document | None:
    if plan is None:
        return None
    return {
        "steps_percent": list(plan.steps_percent),
        "bake_seconds": plan.bake_time.total_seconds(),
        "guard": asdict(plan.guard) if plan.guard else None,
    }


def _plan(document: Document | None) -> RolloutPlan | None:
    if document is None:
        return None
    guard = document["guard"]
    return RolloutPlan(
        tuple(document["steps_percent"]),
        timedelta(seconds=document["bake_seconds"]),
        Guard(**guard) if guard else None,
    )
