"""What the stories of posts tell those who watch: made, changed, and every step from one state to another.

A row of the story is an event if the post was made or changed by it, or if the state is another than in the row before. What else the
event says is of the moment of the row: which parts were on X, why it did not go out.
"""

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from sqlalchemy import FromClause, ScalarSelect, Select, and_, func, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by

from services.bot_manager.domain.happenings import EventType
from services.bot_manager.domain.model import Document, EntryKind, PostState
from services.bot_manager.domain.story import time_text
from services.bot_manager.domain.watching import Event
from services.bot_manager.store.tables import post_events, post_parts, posts

_EXPLAINED: Final = frozenset({PostState.FAILED, PostState.MISSED, PostState.UNKNOWN})
_OF_MONEY: Final = (EntryKind.COST_RESERVED.value, EntryKind.COST_SETTLED.value)
"""Written with a step and no reason of it."""
_OF_THE_POST: Final = {EntryKind.CREATED: EventType.POST_CREATED, EntryKind.EDITED: EventType.POST_UPDATED}


def rows_of(page: Select[Any]) -> Select[Any]:
    """The rows of `page`, a query of `post_events`, each with the row before, the one behind it of the same step, and the post now.

    Looked up row by row, whatever PostgreSQL believes of the size of the page: it must never read all stories for a few events.
    """
    entry = page.subquery("entry")
    before, behind, now = _before(entry), _behind(entry), _now(entry)
    just_made = and_(before.c.kind == EntryKind.CREATED.value, before.c.transaction == entry.c.transaction)
    return (
        select(
            entry,
            before.c.state.label("state_before"),
            just_made.label("just_made"),
            func.coalesce(behind.c.message, entry.c.message).label("told"),
            behind.c.details.label("details_behind"),
            now.c.state.label("state_now"),
            now.c.failure.label("failure_now"),
            _parts_on_x(entry).label("x_post_ids"),
        )
        .select_from(entry)
        .outerjoin(now, true())
        .outerjoin(before, true())
        .outerjoin(behind, true())
        .order_by(entry.c.event_number)
    )


def _before(entry: FromClause) -> FromClause:
    beside = post_events.alias()
    columns = (beside.c.state, beside.c.kind, beside.c.transaction)
    place = and_(beside.c.post_id == entry.c.post_id, beside.c.sequence == entry.c.sequence - 1)
    return select(*columns).where(place).limit(1).lateral("before")


def _behind(entry: FromClause) -> FromClause:
    beside = post_events.alias()
    place = and_(beside.c.post_id == entry.c.post_id, beside.c.sequence == entry.c.sequence + 1)
    same_step = and_(
        beside.c.transaction == entry.c.transaction,
        beside.c.state == entry.c.state,
        beside.c.kind.not_in(_OF_MONEY),
    )
    return select(beside.c.message, beside.c.details).where(place, same_step).limit(1).lateral("behind")


def _now(entry: FromClause) -> FromClause:
    query = select(posts.c.state, posts.c.failure).where(posts.c.id == entry.c.post_id)
    return query.limit(1).lateral("now")


def _parts_on_x(entry: FromClause) -> ScalarSelect[Any]:
    ids = func.array_agg(aggregate_order_by(post_parts.c.x_post_id, post_parts.c.index))
    return (
        select(ids)
        .where(
            post_parts.c.post_id == entry.c.post_id,
            post_parts.c.x_post_id.is_not(None),
            post_parts.c.publish_time <= entry.c.time,
        )
        .scalar_subquery()
    )


def events_of(row: Any) -> Iterator[Event]:
    """The events that a row is: none, one, or two where a change of the post was a step to another state too."""
    of_the_post = _OF_THE_POST.get(EntryKind(row.kind))
    if of_the_post is not None:
        yield _event(row, row.id, of_the_post, f"{_said(row.kind)}: {row.message}", None)
    if row.state_before not in (None, row.state):
        identity = row.id if of_the_post is None else _other(row.id)
        came_from = "" if row.just_made else f" from {row.state_before}"
        message = f"the post went{came_from} to {row.state}: {row.told}"
        yield _event(row, identity, EventType.POST_STATE_CHANGED, message, {"post_state": _step(row)})


def _said(kind: str) -> str:
    return "the post was made" if kind == EntryKind.CREATED else "the post was changed"


def _event(row: Any, identity: str, type: EventType, message: str, detail: Document | None) -> Event:
    return Event(
        id=identity,
        time=row.time,
        type=type,
        actor=row.actor,
        message=message,
        bot_id=row.bot_id,
        post_id=row.post_id,
        request_id=row.request_id,
        detail=detail,
    )


def _step(row: Any) -> Document:
    before = PostState(row.state_before)
    step: dict[str, Any] = {
        "from_state": "POST_STATE_UNSPECIFIED" if row.just_made else f"POST_STATE_{before}",
        "to_state": f"POST_STATE_{row.state}",
        "x_post_ids": row.x_post_ids or [],
    }
    if row.state in _EXPLAINED:
        step["failure"] = _failure(row)
    return step


def _failure(row: Any) -> Document:
    """As the story tells it; else as the post does, if it is still in that state; else what can be said of any such step."""
    for details in (row.details, row.details_behind or {}):
        if "failure" in details:
            told: Document = details["failure"]
            return told
    if row.state_now == row.state and row.failure_now is not None:
        now: Document = row.failure_now
        return now
    return {
        "reason": "X_OUTCOME_UNKNOWN",
        "message": row.told,
        "part_index": row.part_index,
        "time": time_text(row.time),
    }


def _other(identity: str) -> str:
    """A second id beside that of a row: the same each time, of the same moment, and nobody else's."""
    return str(UUID(int=UUID(identity).int ^ 1))
