"""What each step of publishing makes of a post: the publisher's events of `domain/lifecycle.py`, with all they write.

Pure: a post goes in, a `Change` comes out, or None where the caller's claim is not the post's any more. The store calls these under
the post's row lock, so what they see is what they change. Nobody else touches fence, lease, parts' states or attempts.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from services.bot_manager.domain import story
from services.bot_manager.domain.lifecycle import PostEvent, next_state
from services.bot_manager.domain.model import (
    Attempt,
    AttemptOutcome,
    Bot,
    BotState,
    Change,
    Entry,
    EntryKind,
    Failure,
    Part,
    PartState,
    Post,
    PostState,
)
from services.bot_manager.store.ports import Finish, Intent, Refusal, Release

NOT_TAKEN: Final = frozenset({AttemptOutcome.NOT_SENT, AttemptOutcome.DEFERRED})


def claim(post: Post, worker: str, now: datetime, lease: timedelta) -> Change:
    """A claimer takes a due post. Raises FailedPrecondition unless it is SCHEDULED."""
    claimed = replace(
        post,
        state=next_state(post.state, PostEvent.CLAIM),
        claim_fence=post.claim_fence + 1,
        claimed_by=worker,
        lease_end_time=now + lease,
    )
    due = Entry(
        EntryKind.DUE,
        "its time has come",
        details=story.schedule_detail(post, now=now),
        state=PostState.SCHEDULED,
    )
    taken = Entry(
        EntryKind.CLAIMED,
        f"{worker} has taken it",
        details=story.claim_detail(worker, claimed.claim_fence, claimed.lease_end_time),
    )
    return Change(claimed, (due, taken) if post.claim_fence == 0 else (taken,))


def take(post: Post, fence: int, worker: str, now: datetime, lease: timedelta) -> Change | None:
    """A worker makes the claim its own; the number it was told is worthless from then on."""
    if not _holds(post, fence, now):
        return None
    return Change(
        replace(
            post,
            state=next_state(post.state, PostEvent.TAKE),
            claim_fence=fence + 1,
            claimed_by=worker,
            lease_end_time=now + lease,
        )
    )


def begin(
    post: Post, bot: Bot, intent: Intent, attempt_id: str, now: datetime, lease: timedelta
) -> tuple[Change, Attempt] | Refusal:
    """The intent to send one part. X may be called once this is committed."""
    part = post.next_part
    if not _holds(post, intent.fence, now) or part is None or part.index != intent.part_index:
        return Refusal.STALE
    if bot.state is not BotState.ACTIVE:
        return Refusal.BOT_NOT_ACTIVE
    if post.miss_time is not None and post.miss_time <= now:
        return Refusal.TOO_LATE
    attempt = Attempt(
        attempt_id, post.id, part.index, post.attempt_count + 1, intent.fence, intent.request_hash, now
    )
    begun = replace(
        post,
        state=next_state(post.state, PostEvent.BEGIN),
        attempt_count=attempt.number,
        lease_end_time=now + lease,
        parts=_with_part(post, replace(part, state=PartState.PUBLISHING)),
    )
    entry = Entry(
        EntryKind.ATTEMPT_STARTED,
        f"attempt {attempt.number} begins",
        part_index=part.index,
        details=story.attempt_detail(attempt),
    )
    return Change(begun, (entry,)), attempt


def finish(post: Post, finish: Finish, now: datetime, lease: timedelta) -> Change | None:
    """What a call came to. None where that changes nothing any more."""
    attempt, answer = finish.attempt, finish.answer
    part = post.parts[attempt.part_index] if attempt.part_index < len(post.parts) else None
    if part is None or part.state is PartState.PUBLISHED:
        return None
    own = post.claim_fence == attempt.fence and post.state in (PostState.PUBLISHING, PostState.UNKNOWN)
    if answer.outcome is AttemptOutcome.ACCEPTED:
        # Heard late, it is still true; but while another call for the part is under way, that one decides.
        if not own and post.state is PostState.PUBLISHING:
            return None
        change = accept(post, part.index, answer.x_post_id, now, now, lease if own else None)
        next_step = "done" if change.post.next_part is None else "send the next part"
    elif not own:
        return None
    else:
        change, next_step = _settle(post, part, finish, now)
    told = Entry(
        EntryKind.ATTEMPT_FINISHED,
        f"attempt {attempt.number}: {answer.outcome}",
        part_index=part.index,
        details=story.attempt_detail(attempt, answer, next_step=next_step, next_time=finish.next_time),
        state=post.state,
    )
    return Change(change.post, (told, *change.entries))


def accept(
    post: Post,
    part_index: int,
    x_post_id: str,
    publish_time: datetime,
    now: datetime,
    lease: timedelta | None,
) -> Change:
    """A part is on X. `lease`: how long the worker has for the next part; None where no worker holds the post."""
    part = replace(
        post.parts[part_index], state=PartState.PUBLISHED, x_post_id=x_post_id, publish_time=publish_time
    )
    after = replace(post, parts=_with_part(post, part), miss_time=None, attempts_before=post.attempt_count)
    if after.next_part is None:
        done = replace(
            _let_go(after, PostEvent.ACCEPT_LAST), publish_time=publish_time, failure=None, due_time=None
        )
        entry = Entry(
            EntryKind.PUBLISHED, "it is on X", details=story.schedule_detail(done, now=publish_time)
        )
        return Change(done, (entry,))
    state = next_state(post.state, PostEvent.ACCEPT_PART)
    if post.state is PostState.PUBLISHING and lease is not None:
        return Change(replace(after, state=state, lease_end_time=now + lease))
    if state is PostState.SCHEDULED:
        return Change(replace(_let_go(after, PostEvent.ACCEPT_PART), due_time=now, failure=None))
    return Change(replace(after, state=state))


def _settle(post: Post, part: Part, finish: Finish, now: datetime) -> tuple[Change, str]:
    """Any outcome but ACCEPTED, and what follows in words."""
    outcome, failure = finish.answer.outcome, finish.failure
    if outcome is AttemptOutcome.REJECTED or (failure is not None and outcome is not AttemptOutcome.UNKNOWN):
        why = failure or Failure("X_REJECTED", "X refused the post", now, part.index)
        return fail(post, PostEvent.REFUSE, why, part.index), "nothing, unless somebody acts"
    if outcome in NOT_TAKEN:
        again = _back(post, PostEvent.NOT_TAKEN, finish.next_time or now)
        return again, "try again"
    return lose_track(post, PostEvent.LOSE_TRACK, finish.next_time, failure, now), "read the account"


def lose_track(
    post: Post, event: PostEvent, next_time: datetime | None, failure: Failure | None, now: datetime
) -> Change:
    """X may have taken the part or not: UNKNOWN until that is settled. `next_time` is when the account is read; None: now."""
    part = post.next_part
    index = part.index if part else 0
    told = "X may have taken it or not; it is not sent again until that is settled"
    return Change(
        replace(
            _let_go(post, event),
            parts=_with_part(post, replace(post.parts[index], state=PartState.UNKNOWN)),
            due_time=next_time or now,
            failure=failure or Failure("X_OUTCOME_UNKNOWN", told, now, index),
        )
    )


def fail(post: Post, event: PostEvent, failure: Failure, part_index: int | None = None) -> Change:
    """Refused for good, by X or before it was asked."""
    parts = post.parts
    if part_index is not None:
        parts = _with_part(post, replace(parts[part_index], state=PartState.FAILED))
    failed = replace(_let_go(post, event), parts=parts, failure=failure, due_time=None, miss_time=None)
    entry = Entry(
        EntryKind.FAILED,
        failure.message,
        part_index=failure.part_index,
        details=story.failure_detail(failure),
    )
    return Change(failed, (entry,))


def give_up(post: Post, fence: int, failure: Failure, now: datetime) -> Change | None:
    """A worker refuses a post before X was called."""
    return fail(post, PostEvent.GIVE_UP, failure) if _holds(post, fence, now) else None


def release(post: Post, given: Release, now: datetime) -> Change | None:
    """A worker gives a post back before X was called."""
    if not _holds(post, given.fence, now):
        return None
    entry = Entry(
        EntryKind.DEFERRED,
        given.message,
        details=story.deferral_detail(given.reason, given.due_time, operation=given.operation),
    )
    change = _back(post, PostEvent.RELEASE, given.due_time)
    return Change(change.post, (entry,))


def note(post: Post, fence: int, entries: Sequence[Entry], now: datetime) -> Change | None:
    """Entries for the story of a post that is held."""
    return Change(post, tuple(entries)) if _holds(post, fence, now) else None


def end_lease(post: Post, now: datetime) -> Change | None:
    """The lease is over: nobody knows what became of its holder."""
    if post.lease_end_time is None or post.lease_end_time > now:
        return None
    entry = Entry(
        EntryKind.LEASE_EXPIRED,
        f"{post.claimed_by} did not finish in time",
        details=story.claim_detail(post.claimed_by, post.claim_fence, post.lease_end_time),
    )
    if next_state(post.state, PostEvent.LEASE_END) is PostState.UNKNOWN:
        change = lose_track(post, PostEvent.LEASE_END, None, None, now)
    else:
        change = _back(post, PostEvent.LEASE_END, now)
    return Change(change.post, (entry, *change.entries))


def miss(post: Post, now: datetime, because: str = "") -> Change | None:
    """Too late to go out. `because`: what stands in its way at the end, for people; empty if nothing that lasts does."""
    if post.miss_time is None or post.miss_time > now:
        return None
    told = "its latest time passed before it could go out"
    failure = Failure("DEADLINE_MISSED", f"{told}: {because}" if because else told, now)
    missed = replace(_let_go(post, PostEvent.MISS), failure=failure, due_time=None)
    return Change(missed, (Entry(EntryKind.MISSED, failure.message, details=story.failure_detail(failure)),))


def note_reconcile(
    post: Post, fence: int, entry: Entry, next_time: datetime | None, failure: Failure | None = None
) -> Change | None:
    """A look at the account that settled nothing. Without `next_time` the post waits for a person; `failure` then says so."""
    if not _is_unknown(post, fence):
        return None
    return Change(replace(post, due_time=next_time, failure=failure or post.failure), (entry,))


def adopt(
    post: Post,
    fence: int,
    part_index: int,
    x_post_id: str,
    publish_time: datetime,
    now: datetime,
    look: Entry | None = None,
) -> Change | None:
    """The part in question was found on X. `look` tells of the one that found it."""
    part = post.next_part
    if not _is_unknown(post, fence) or part is None or part.index != part_index:
        return None
    entry = Entry(
        EntryKind.ADOPTED,
        "found on the account",
        part_index=part_index,
        details=story.reconcile_detail(0, x_post_id=x_post_id, clean=True),
        state=PostState.UNKNOWN,
    )
    change = accept(post, part_index, x_post_id, publish_time, now, None)
    return Change(change.post, (*_told(look), entry, *change.entries))


def send_again(post: Post, fence: int, now: datetime, look: Entry | None = None) -> Change | None:
    """X surely does not have the part in question. `look` tells of the one that said so."""
    if not _is_unknown(post, fence):
        return None
    change = _back(post, PostEvent.SEND_AGAIN, now)
    entry = Entry(
        EntryKind.SCHEDULED,
        "X does not have it; it goes out again",
        details=story.schedule_detail(change.post),
    )
    return Change(change.post, (*_told(look), entry))


def _holds(post: Post, fence: int, now: datetime) -> bool:
    """Whether `fence` is the claim under which the post waits to be sent, and its lease has not ended."""
    living = post.lease_end_time is not None and post.lease_end_time > now
    return post.state is PostState.CLAIMED and post.claim_fence == fence and living


def _told(entry: Entry | None) -> tuple[Entry, ...]:
    return () if entry is None else (entry,)


def _is_unknown(post: Post, fence: int) -> bool:
    return post.state is PostState.UNKNOWN and post.claim_fence == fence


def _let_go(post: Post, event: PostEvent) -> Post:
    """The post after `event`, held by nobody."""
    return replace(post, state=next_state(post.state, event), claimed_by="", lease_end_time=None)


def _back(post: Post, event: PostEvent, due_time: datetime) -> Change:
    """Back to SCHEDULED: what is not on X is surely not there."""
    parts = tuple(
        part if part.state is PartState.PUBLISHED else replace(part, state=PartState.PENDING)
        for part in post.parts
    )
    return Change(replace(_let_go(post, event), parts=parts, due_time=due_time, failure=None))


def _with_part(post: Post, part: Part) -> tuple[Part, ...]:
    return tuple(part if other.index == part.index else other for other in post.parts)
