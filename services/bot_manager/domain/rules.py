"""What people make of a post: the callers' events of `domain/lifecycle.py`, with all they write and all they require.

Pure, like `domain/ledger.py`: a post goes in, a `Change` comes out or a typed error that names the field of the request.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from mesh.errors import FailedPrecondition, InvalidArgument
from services.bot_manager.domain import approving, story
from services.bot_manager.domain.lifecycle import PostEvent, next_state
from services.bot_manager.domain.model import (
    Change,
    Document,
    Entry,
    EntryKind,
    Finding,
    Origin,
    Part,
    PartState,
    Post,
    PostState,
    Severity,
)
from services.bot_manager.domain.text import normalise


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
    """The parts, texts normalised. Raises InvalidArgument: INVALID_FIELD or CONFLICTING_FIELD. How long they are is for the policy checks."""
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
    return parts


def new_post(
    post_id: str, bot_id: str, draft: Draft, creator: str, now: datetime, origin: Origin = Origin.MANUAL
) -> Post:
    """The draft as a post in DRAFT. Raises InvalidArgument as `parts_of`."""
    return Post(
        id=post_id,
        bot_id=bot_id,
        state=PostState.DRAFT,
        parts=parts_of(draft),
        create_time=now,
        update_time=now,
        content=draft.content,
        queue=draft.queue,
        creator=creator,
        origin=origin,
        latest_publish_time=draft.latest_publish_time,
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


def create(
    post: Post,
    scheduled: datetime | None,
    lateness: timedelta,
    *,
    waits: bool = False,
    at_once: bool = False,
) -> Change:
    """A new post: a draft, or one that goes out at its time. `waits`: a second person is asked first (`approving.needed`); `at_once`:
    then it goes out as soon as that person lets it.
    """
    checked = checked_entries(post.findings, post.state)
    if scheduled is None:
        return Change(post, (_created(post), *checked))
    waiting = replace(timed(post, scheduled, lateness), state=next_state(post.state, PostEvent.SCHEDULE))
    if waits:
        asked = approving.submit(
            _untimely(waiting, at_once=at_once), post.creator, "waits for a second person"
        )
        return Change(asked.post, (_created(post), *checked, *asked.entries))
    return Change(waiting, (_created(post), *checked, _has_its_time(waiting, post.creator)))


def _created(post: Post) -> Entry:
    return Entry(
        EntryKind.CREATED,
        "made",
        post.creator,
        details=story.schedule_detail(post),
        state=PostState.DRAFT,
    )


def _has_its_time(post: Post, actor: str) -> Entry:
    return Entry(EntryKind.SCHEDULED, "it has its time", actor, details=story.schedule_detail(post))


def _untimely(post: Post, *, at_once: bool) -> Post:
    """Who wants it out at once waits for approval without being late, unless a latest time was given."""
    return replace(post, miss_time=post.latest_publish_time) if at_once else post


def checked_entries(findings: Sequence[Finding], state: PostState) -> tuple[Entry, ...]:
    """What the policy checks found, as an entry of a post in `state`; none if they found nothing."""
    if not findings:
        return ()
    counts = Counter(finding.severity for finding in findings)
    told = ", ".join(
        f"{counts[severity]} {severity.lower()}{'s' if counts[severity] > 1 else ''}"
        for severity in (Severity.ERROR, Severity.WARNING)
        if counts[severity]
    )
    names = ", ".join(dict.fromkeys(finding.rule.value for finding in findings))
    return (Entry(EntryKind.POLICY_CHECKED, f"policy checks: {told} ({names})", state=state),)


def revise(post: Post, draft: Draft, now: datetime, lateness: timedelta) -> Post:
    """The post with content and time of the draft, not rendered where anything was written anew.

    Raises FailedPrecondition (INVALID_STATE), InvalidArgument.
    """
    next_state(post.state, PostEvent.EDIT)
    parts = _edited_parts(post, parts_of(draft))
    same = draft.content == post.content and [*map(_written, parts)] == [*map(_written, post.parts)]
    edited = replace(
        post,
        parts=post.parts if same else parts,
        content=draft.content,
        queue=draft.queue,
        latest_publish_time=draft.latest_publish_time,
    )
    if draft.scheduled_time is None:
        return _without_time(edited)
    if draft.scheduled_time == post.scheduled_time and edited.latest_publish_time == post.latest_publish_time:
        return edited
    if draft.scheduled_time != post.scheduled_time:
        check_time(draft.scheduled_time, now, "post.scheduled_time")
    edited = timed(edited, draft.scheduled_time, lateness)
    if post.state is PostState.DRAFT:
        edited = replace(edited, state=next_state(post.state, PostEvent.SCHEDULE))
    return edited


def edited(before: Post, after: Post, actor: str, *, waits: bool) -> Change:
    """What an edit writes: `after` is the post as revised, rendered and checked. `waits` as in `create`."""
    changed = _changed_fields(before, after)
    if not changed:
        return Change(before)
    rewritten = said(before) != said(after)
    if rewritten:
        after = replace(after, editor=actor, approval=None)
    # Where it gets its time or waits, an entry of its own says so.
    state = PostState.DRAFT if after.state is PostState.DRAFT else before.state
    told = Entry(
        EntryKind.EDITED,
        f"changed: {', '.join(changed)}",
        actor,
        details=story.schedule_detail(after, changed_fields=changed),
        state=state,
    )
    checked = checked_entries(after.findings, state)
    if after.state is PostState.DRAFT:
        approval = None if approving.is_waiting(before) else after.approval
        return Change(replace(after, approval=approval), (told, *checked))
    if approving.is_waiting(before) and not rewritten:
        return Change(after, (told, *checked))
    if approving.is_waiting(before) or (waits and not approving.is_approved(after)):
        asked = approving.submit(after, actor, "waits for a second person")
        return Change(asked.post, (told, *checked, *asked.entries))
    if before.state is PostState.DRAFT:
        return Change(after, (told, *checked, _has_its_time(after, actor)))
    return Change(after, (told, *checked))


def said(post: Post) -> object:
    """All that a person sees of a post's content, compared to tell whether it is still what was approved."""
    return [(part.sent_text, *_written(part)) for part in post.parts], post.content


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


def retry(
    post: Post,
    scheduled: datetime,
    lateness: timedelta,
    actor: str,
    *,
    waits: bool = False,
    at_once: bool = False,
) -> Change:
    """Schedule a FAILED, MISSED or CANCELLED post again. A latest time that the new time has passed is dropped.

    `waits` and `at_once` as in `create`; what a second person approved is not asked for again.
    """
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
    details = story.decision_detail("")
    wanted = Entry(EntryKind.RETRY_REQUESTED, "to be tried again", actor, details=details)
    checked = checked_entries(post.findings, again.state)
    if waits and not approving.is_approved(again):
        asked = approving.submit(_untimely(again, at_once=at_once), actor, "waits for a second person")
        return Change(asked.post, (wanted, *checked, *asked.entries))
    return Change(again, (wanted, *checked, _has_its_time(again, actor)))
