"""What the stories of posts tell those who watch: made, changed, and every step from one state to another.

A row of the story is an event if the post was made or changed by it, or if the state is another than in the row before. What else the
event says is of the moment of the row: which parts were on X, why it did not go out.
"""

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ScalarSelect, Select, and_, func, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from services.bot_manager.domain.happenings import EventType
from services.bot_manager.domain.model import Document, EntryKind, PostState
from services.bot_manager.domain.story import time_text
from services.bot_manager.domain.watching import Event
from services.bot_manager.store.tables import post_events, post_parts, posts

_EXPLAINED: Final = frozenset({PostState.FAILED, PostState.MISSED, PostState.UNKNOWN})
_OF_THE_POST: Final = {EntryKind.CREATED: EventType.POST_CREATED, EntryKind.EDITED: EventType.POST_UPDATED}
_BEFORE: Final = post_events.alias("before")
_BEHIND: Final = post_events.alias("behind")


def rows_of_events() -> Select[Any]:
    """Rows that are events, each with the row before, the one behind it of the same step, and the post as it is now."""
    same = and_(_BEFORE.c.post_id == post_events.c.post_id, _BEFORE.c.sequence == post_events.c.sequence - 1)
    behind = and_(
        _BEHIND.c.post_id == post_events.c.post_id,
        _BEHIND.c.sequence == post_events.c.sequence + 1,
        _BEHIND.c.transaction == post_events.c.transaction,
        _BEHIND.c.state == post_events.c.state,
    )
    made_or_changed = post_events.c.kind.in_([kind.value for kind in _OF_THE_POST])
    return (
        select(
            post_events,
            _BEFORE.c.state.label("state_before"),
            and_(
                _BEFORE.c.kind == EntryKind.CREATED.value, _BEFORE.c.transaction == post_events.c.transaction
            ).label("just_made"),
            func.coalesce(_BEHIND.c.message, post_events.c.message).label("told"),
            _BEHIND.c.details.label("details_behind"),
            posts.c.state.label("state_now"),
            posts.c.failure.label("failure_now"),
            _parts_on_x().label("x_post_ids"),
        )
        .join(posts, posts.c.id == post_events.c.post_id)
        .outerjoin(_BEFORE, same)
        .outerjoin(_BEHIND, behind)
        .where(or_(made_or_changed, _BEFORE.c.state != post_events.c.state))
    )


def _parts_on_x() -> ScalarSelect[Any]:
    ids = func.array_agg(aggregate_order_by(post_parts.c.x_post_id, post_parts.c.index))
    return (
        select(ids)
        .where(
            post_parts.c.post_id == post_events.c.post_id,
            post_parts.c.x_post_id.is_not(None),
            post_parts.c.publish_time <= post_events.c.time,
        )
        .scalar_subquery()
    )


def events_of(row: Any) -> Iterator[Event]:
    """The events that a row is: one, or two where a change of the post was a step to another state too."""
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
