"""Every entry that the rules write is one of the contract's, detail and all."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.bot_manager.convert.posts import from_entry, from_post
from services.bot_manager.domain import ledger, rules
from services.bot_manager.domain.model import (
    Answer,
    AttemptOutcome,
    Bot,
    BotState,
    Change,
    Entry,
    Failure,
    Part,
    Post,
    PostState,
    StoredEntry,
)
from services.bot_manager.store.ports import Finish, Intent, Release
from vivesphere.bot_manager.v1 import timeline_pb2

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)
BOT = Bot("b", "acme", BotState.ACTIVE, NOW, NOW)


def told(change: Change | None) -> list[timeline_pb2.TimelineEntry]:
    assert change is not None
    from_post(change.post)
    return [from_entry(_stored(entry, change.post)) for entry in change.entries]


def _stored(entry: Entry, post: Post) -> StoredEntry:
    return StoredEntry(
        1,
        NOW,
        entry.kind,
        entry.message,
        entry.actor,
        "i",
        entry.state or post.state,
        entry.part_index,
        "",
        entry.details,
    )


def test_the_whole_story_can_be_told() -> None:
    """`WhichOneof` names the detail that the contract promises for the kind."""
    made = rules.create(Post("p", "b", PostState.DRAFT, (Part(0, "one"),), NOW, NOW), NOW, LEASE)
    claimed = ledger.claim(made.post, "claimer", NOW, LEASE)
    taken = ledger.take(claimed.post, 1, "worker", NOW, LEASE)
    assert taken is not None
    begun = ledger.begin(taken.post, BOT, Intent("p", 0, 2, "hash"), "a", NOW, LEASE)
    assert isinstance(begun, tuple)
    attempt = begun[1]
    failure = Failure("X_REJECTED", "no", NOW, 0, 403, "client-forbidden", "x" * 2000)
    outcomes = [
        Finish(attempt, Answer(AttemptOutcome.ACCEPTED, 201, x_post_id="1", latency=timedelta(seconds=1))),
        Finish(attempt, Answer(AttemptOutcome.REJECTED, 403), failure=failure),
        Finish(attempt, Answer(AttemptOutcome.UNKNOWN), NOW),
    ]
    unknown = ledger.finish(begun[0].post, outcomes[2], NOW, LEASE)
    assert unknown is not None
    changes = [
        made,
        claimed,
        begun[0],
        *(ledger.finish(begun[0].post, one, NOW, LEASE) for one in outcomes),
        ledger.release(taken.post, Release("p", 2, NOW, "X_RATE_LIMITED", "later"), NOW),
        ledger.end_lease(begun[0].post, NOW + LEASE),
        ledger.miss(made.post, NOW + LEASE),
        ledger.adopt(unknown.post, 2, 0, "1", NOW, NOW),
        ledger.send_again(unknown.post, 2, NOW),
        rules.cancel(made.post, "ann", "why"),
        rules.retry(replace(made.post, state=PostState.FAILED), NOW + LEASE, LEASE, "ann"),
    ]
    details = {
        timeline_pb2.TimelineKind.Name(entry.kind): entry.WhichOneof("detail")
        for change in changes
        for entry in told(change)
    }
    assert details == {
        "TIMELINE_KIND_CREATED": "schedule",
        "TIMELINE_KIND_SCHEDULED": "schedule",
        "TIMELINE_KIND_DUE": "schedule",
        "TIMELINE_KIND_CLAIMED": "claim",
        "TIMELINE_KIND_ATTEMPT_STARTED": "attempt",
        "TIMELINE_KIND_ATTEMPT_FINISHED": "attempt",
        "TIMELINE_KIND_PUBLISHED": "schedule",
        "TIMELINE_KIND_FAILED": "failure",
        "TIMELINE_KIND_DEFERRED": "deferral",
        "TIMELINE_KIND_LEASE_EXPIRED": "claim",
        "TIMELINE_KIND_MISSED": "failure",
        "TIMELINE_KIND_ADOPTED": "reconcile",
        "TIMELINE_KIND_CANCELLED": "decision",
        "TIMELINE_KIND_RETRY_REQUESTED": "decision",
    }
