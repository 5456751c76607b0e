"""What becomes of a post because of the occurrence that it belongs to. Pure, like `domain/rules.py`."""

from dataclasses import replace
from datetime import datetime, timedelta

from services.bot_manager.domain import approving, rules, story
from services.bot_manager.domain.lifecycle import PostEvent, next_state
from services.bot_manager.domain.model import (
    ACTOR,
    Change,
    Entry,
    EntryKind,
    Failure,
    Origin,
    Post,
    PostState,
)
from services.bot_manager.domain.recurrence.misfires import TOO_LATE
from services.bot_manager.domain.recurrence.model import Occurrence, Schedule

MADE_UP = "made up for, as the schedule's misfire policy says"


def made(
    schedule: Schedule, occurrence: Occurrence, draft: rules.Draft, post_id: str, number: int, now: datetime
) -> Post:
    """A new post of an occurrence, before it has its time. Raises InvalidArgument as `rules.parts_of`."""
    return Post(
        id=post_id,
        bot_id=schedule.bot_id,
        state=PostState.DRAFT,
        parts=rules.parts_of(draft),
        create_time=now,
        update_time=now,
        content=draft.content,
        creator=ACTOR,
        origin=Origin.SCHEDULE,
        schedule_id=schedule.id,
        occurrence_time=occurrence.nominal_time,
        occurrence_item=number,
    )


def taken(post: Post, schedule: Schedule, occurrence: Occurrence, number: int) -> Post:
    """A draft of a queue as the post of an occurrence, before it has its time."""
    return replace(
        post,
        schedule_id=schedule.id,
        occurrence_time=occurrence.nominal_time,
        occurrence_item=number,
    )


def timed(post: Post, at: datetime, lateness: timedelta, *, waits: bool) -> Change:
    """A draft of a queue gets its time. A latest time of its own that is before that is dropped. `waits`: a second person is asked first."""
    latest = post.latest_publish_time
    kept = replace(post, latest_publish_time=None if latest is not None and latest < at else latest)
    waiting = replace(rules.timed(kept, at, lateness), state=next_state(post.state, PostEvent.SCHEDULE))
    entry = Entry(
        EntryKind.SCHEDULED, "taken from its queue by a schedule", details=story.schedule_detail(waiting)
    )
    if waits and not approving.is_approved(waiting):
        asked = approving.submit(waiting, ACTOR, "waits for a second person")
        return Change(asked.post, (entry, *asked.entries))
    return Change(waiting, (entry,))


def give_back(post: Post, why: str) -> Change:
    """The post of an occurrence that is not to be is a draft in its queue again."""
    draft = replace(
        post,
        state=next_state(post.state, PostEvent.UNSCHEDULE),
        scheduled_time=None,
        due_time=None,
        miss_time=None,
        schedule_id="",
        occurrence_time=None,
        occurrence_item=0,
    )
    entry = Entry(
        EntryKind.EDITED,
        f"back in its queue: {why}",
        details=story.schedule_detail(draft, changed_fields=["scheduled_time"]),
    )
    return Change(draft, (entry,))


def miss(post: Post, now: datetime) -> Change:
    """Nobody claimed it until the schedule's grace was over."""
    failure = Failure("DEADLINE_MISSED", TOO_LATE, now)
    missed = replace(post, state=next_state(post.state, PostEvent.MISS), due_time=None, failure=failure)
    return Change(missed, (Entry(EntryKind.MISSED, TOO_LATE, details=story.failure_detail(failure)),))


def make_up(post: Post, at: datetime, lateness: timedelta, *, waits: bool) -> Change:
    """A post that was MISSED goes out after all; one that is not, any more, stays as it is."""
    if post.state is not PostState.MISSED:
        return Change(post)
    change = rules.retry(post, at, lateness, ACTOR, waits=waits)
    told, *rest = change.entries
    return Change(change.post, (replace(told, message=MADE_UP), *rest))
