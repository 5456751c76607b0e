"""What people make of a post: the callers' events of `domain/lifecycle.py`, with all they write and all they require.

Pure, like `domain/ledger.py`: a post goes in, a `Change` comes out or a typed error that names the field of the request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from mesh.errors import FailedPrecondition, InvalidArgument
from services.bot_manager.domain import story
from services.bot_manager.domain.lifecycle import PostEvent, next_state
from services.bot_manager.domain.model import (
    Change,
    Document,
    Entry,
    EntryKind,
    Part,
    PartState,
    Post,
    PostState,
)
from services.bot_manager.domain.text import MAX_WEIGHT, normalise, weighted_length

UNSUPPORTED: Final = "this version does not support it yet"


@dataclass(frozen=True, slots=True)
class DraftPart:
    """One message of a thread as somebody wrote it."""

    text: str = ""
    media_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A post as somebody wrote it. `text` and `media_ids` are the short form of the first of `parts`; give either, or both where they
    agree. `content` holds everything else that goes out, `template` included.
    """

    text: str = ""
    media_ids: tuple[str, ...] = ()
    parts: tuple[DraftPart, ...] = ()
    content: Document = field(default_factory=dict)
    queue: str = ""
    scheduled_time: datetime | None = None
    latest_publish_time: datetime | None = None


def parts_of(draft: Draft) -> tuple[Part, ...]:
    """The parts, texts normalised. Raises InvalidArgument: INVALID_FIELD or CONFLICTING_FIELD."""
    given = draft.parts or (DraftPart(draft.text, draft.media_ids),)
    parts = tuple(
        Part(index, normalise(part.text), media_ids=part.media_ids) for index, part in enumerate(given)
    )
    if draft.text and parts[0].text != normalise(draft.text):
        raise InvalidArgument(
            "CONFLICTING_FIELD", "text is not that of the first part; give one of the two", field="post.text"
        )
    if draft.media_ids and parts[0].media_ids != draft.media_ids:
        raise InvalidArgument(
            "CONFLICTING_FIELD",
            "media_ids are not those of the first part; give one of the two",
            field="post.media_ids",
        )
    if "poll" in draft.content and "quote_x_post_id" in draft.content:
        raise InvalidArgument(
            "CONFLICTING_FIELD", "a post with a poll cannot quote", field="post.quote_x_post_id"
        )
    for part in parts:
        name = f"post.parts[{part.index}].text" if draft.parts else "post.text"
        if not part.text.strip() and not part.media_ids:
            raise InvalidArgument("INVALID_FIELD", "a post needs a text or media", field=name)
        if "template" not in draft.content:
            _check_length(part.text, name)
    return parts


def _check_length(text: str, name: str) -> None:
    weight = weighted_length(text)
    if weight > MAX_WEIGHT:
        raise InvalidArgument(
            "INVALID_FIELD",
            f"its weighted length is {weight}; X takes {MAX_WEIGHT}",
            field=name,
            metadata={"weightedLength": str(weight), "maxWeightedLength": str(MAX_WEIGHT)},
        )


def check_time(scheduled: datetime, now: datetime, name: str) -> None:
    """Raises InvalidArgument (TIME_IN_PAST) unless the time is still to come."""
    if scheduled <= now:
        raise InvalidArgument("TIME_IN_PAST", "the time has passed", field=name)


def timed(post: Post, scheduled: datetime, lateness: timedelta) -> Post:
    """The post waiting for `scheduled`. Raises InvalidArgument if its latest time is before that."""
    latest = post.latest_publish_time
    if latest is not None and latest < scheduled:
        raise InvalidArgument("INVALID_FIELD", "is before scheduled_time", field="post.latest_publish_time")
    return replace(
        post,
        scheduled_time=scheduled,
        due_time=scheduled,
        # A thread that has begun is finished, however late.
        miss_time=None if post.x_post_ids else latest or scheduled + lateness,
        attempts_before=post.attempt_count,
    )


def create(post: Post, scheduled: datetime | None, lateness: timedelta) -> Change:
    """A new post: a draft, or one that waits for its time."""
    if scheduled is None:
        return Change(post, (_created(post),))
    waiting = replace(timed(post, scheduled, lateness), state=next_state(post.state, PostEvent.SCHEDULE))
    entry = Entry(
        EntryKind.SCHEDULED, "it has its time", post.creator, details=story.schedule_detail(waiting)
    )
    return Change(waiting, (_created(post), entry))


def _created(post: Post) -> Entry:
    return Entry(
        EntryKind.CREATED,
        "made",
        post.creator,
        details=story.schedule_detail(post),
        state=PostState.DRAFT,
    )


def edit(post: Post, draft: Draft, now: datetime, lateness: timedelta, actor: str) -> Change:
    """Change content and time. Raises FailedPrecondition (INVALID_STATE), InvalidArgument."""
    next_state(post.state, PostEvent.EDIT)
    edited = replace(
        post,
        parts=_edited_parts(post, parts_of(draft)),
        content=draft.content,
        queue=draft.queue,
        latest_publish_time=draft.latest_publish_time,
    )
    entries = []
    if draft.scheduled_time is None:
        edited = _without_time(edited)
    elif (
        draft.scheduled_time != post.scheduled_time or edited.latest_publish_time != post.latest_publish_time
    ):
        if draft.scheduled_time != post.scheduled_time:
            check_time(draft.scheduled_time, now, "post.scheduled_time")
        edited = timed(edited, draft.scheduled_time, lateness)
        if post.state is PostState.DRAFT:
            edited = replace(edited, state=next_state(post.state, PostEvent.SCHEDULE))
            entries.append(
                Entry(EntryKind.SCHEDULED, "it has its time", actor, details=story.schedule_detail(edited))
            )
    changed = _changed_fields(post, edited)
    if not changed:
        return Change(post)
    told = Entry(
        EntryKind.EDITED,
        f"changed: {', '.join(changed)}",
        actor,
        details=story.schedule_detail(edited, changed_fields=changed),
        state=post.state if entries else edited.state,
    )
    return Change(edited, (told, *entries))


def _edited_parts(post: Post, parts: Sequence[Part]) -> tuple[Part, ...]:
    """Parts that are on X stay as they are. Raises FailedPrecondition if the new ones say otherwise."""
    published = [part for part in post.parts if part.state is PartState.PUBLISHED]
    for part in published:
        if part.index >= len(parts) or _written(parts[part.index]) != _written(part):
            raise FailedPrecondition(
                "INVALID_STATE",
                f"part {part.index} is on X and cannot be changed",
                field=f"post.parts[{part.index}].text",
            )
    if len(parts) == len(published) and published:
        raise FailedPrecondition("INVALID_STATE", "a part must be left to publish", field="post.parts")
    return (*published, *parts[len(published) :])


def _written(part: Part) -> tuple[str, tuple[str, ...]]:
    """What people write of a part."""
    return part.text, part.media_ids


def _without_time(post: Post) -> Post:
    if post.state is PostState.DRAFT:
        return post
    if post.x_post_ids:
        raise FailedPrecondition("INVALID_STATE", "a part is on X already; cancel the post instead")
    state = next_state(post.state, PostEvent.UNSCHEDULE)
    return replace(post, state=state, scheduled_time=None, due_time=None, miss_time=None)


def _changed_fields(before: Post, after: Post) -> list[str]:
    facts: Mapping[str, tuple[Any, Any]] = {
        "parts": ([*map(_written, before.parts)], [*map(_written, after.parts)]),
        "queue": (before.queue, after.queue),
        "scheduled_time": (before.scheduled_time, after.scheduled_time),
        "latest_publish_time": (before.latest_publish_time, after.latest_publish_time),
    }
    changed = [name for name, (old, new) in facts.items() if old != new]
    names = sorted({*before.content, *after.content})
    return changed + [name for name in names if before.content.get(name) != after.content.get(name)]


def cancel(post: Post, actor: str, reason: str) -> Change:
    """Call a post off. One that is CANCELLED stays as it is. Raises FailedPrecondition (INVALID_STATE)."""
    state = next_state(post.state, PostEvent.CANCEL)
    if post.state is PostState.CANCELLED:
        return Change(post)
    entry = Entry(EntryKind.CANCELLED, "called off", actor, details=story.decision_detail(reason))
    return Change(replace(post, state=state, due_time=None, miss_time=None), (entry,))


def retry(post: Post, scheduled: datetime, lateness: timedelta, actor: str) -> Change:
    """Schedule a FAILED, MISSED or CANCELLED post again. A latest time that the new time has passed is dropped."""
    state = next_state(post.state, PostEvent.RETRY)
    latest = post.latest_publish_time
    again = replace(
        post,
        state=state,
        failure=None,
        latest_publish_time=None if latest is not None and latest < scheduled else latest,
        parts=tuple(
            part if part.state is PartState.PUBLISHED else replace(part, state=PartState.PENDING)
            for part in post.parts
        ),
    )
    again = timed(again, scheduled, lateness)
    wanted = Entry(EntryKind.RETRY_REQUESTED, "to be tried again", actor, details=story.decision_detail(""))
    waits = Entry(EntryKind.SCHEDULED, "it has its time", actor, details=story.schedule_detail(again))
    return Change(again, (wanted, waits))
