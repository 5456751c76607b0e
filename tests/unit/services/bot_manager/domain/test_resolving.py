"""What a person's word makes of a post of unknown outcome."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import FailedPrecondition
from services.bot_manager.domain import ledger, rules
from services.bot_manager.domain.model import (
    Bot,
    BotState,
    EntryKind,
    Part,
    PartState,
    Post,
    PostState,
)
from services.bot_manager.domain.resolving import Resolution, Word, resolve, time_of
from services.bot_manager.store.ports import Intent, Refusal

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
LATENESS = timedelta(hours=1)
R, S, E = Resolution, PostState, EntryKind
X_POST_ID = str(
    int((START - datetime(2010, 11, 4, 1, 42, 54, 657_000, tzinfo=UTC)).total_seconds() * 1000) << 22
)


def lost(*texts: str) -> Post:
    """A post whose first part may be on X or not."""
    parts = tuple(Part(index, text) for index, text in enumerate(texts or ("one",)))
    draft = Post("p", "b", PostState.DRAFT, parts, START, START)
    post = ledger.claim(rules.create(draft, START, LATENESS).post, "w", START, LEASE).post
    begun = ledger.begin(
        post, Bot("b", "acme", BotState.ACTIVE, START, START), Intent("p", 0, 1, "h"), "a", START, LEASE
    )
    assert not isinstance(begun, Refusal)
    change = ledger.end_lease(begun[0].post, START + LEASE)
    assert change is not None
    return change.post


def test_published_takes_the_id_and_ends_the_post() -> None:
    """The time is the one that the id tells."""
    now = START + timedelta(hours=2)
    change = resolve(lost(), Word(R.PUBLISHED, "u", X_POST_ID, "I saw it"), now, LATENESS)
    assert (change.post.state, change.post.x_post_ids) == (S.PUBLISHED, (X_POST_ID,))
    assert change.post.publish_time == time_of(X_POST_ID) == START
    resolved, published = change.entries
    assert (resolved.kind, resolved.actor, resolved.state) == (E.RESOLVED, "u", S.UNKNOWN)
    assert resolved.details["decision"] == {
        "comment": "I saw it",
        "resolution": "POST_RESOLUTION_PUBLISHED",
        "x_post_id": X_POST_ID,
    }
    assert published.kind is E.PUBLISHED


@pytest.mark.parametrize("x_post_id", ["77", "9" * 19])
def test_an_id_that_tells_no_believable_time_counts_from_now(x_post_id: str) -> None:
    """Statistics begin at the time of publishing."""
    now = START + timedelta(hours=2)
    assert resolve(lost(), Word(R.PUBLISHED, "u", x_post_id), now, LATENESS).post.publish_time == now


def test_a_thread_goes_on_after_the_part_that_a_person_found() -> None:
    """The others were never sent."""
    post = resolve(lost("one", "two"), Word(R.PUBLISHED, "u", X_POST_ID), START, LATENESS).post
    assert post.state is S.SCHEDULED
    assert [part.state for part in post.parts] == [PartState.PUBLISHED, PartState.PENDING]


def test_send_again_keeps_a_latest_time_that_is_still_to_come_and_renews_one_that_has_passed() -> None:
    """A person's word would be worth nothing if the post were MISSED the same moment."""
    early = resolve(lost(), Word(R.SEND_AGAIN, "u"), START + timedelta(minutes=1), LATENESS).post
    assert (early.state, early.miss_time) == (S.SCHEDULED, START + LATENESS)
    now = START + timedelta(hours=3)
    late = resolve(lost(), Word(R.SEND_AGAIN, "u"), now, LATENESS).post
    assert (late.state, late.due_time, late.miss_time) == (S.SCHEDULED, now, now + LATENESS)
    assert (late.tries, late.failure) == (0, None)
    assert ledger.miss(late, now) is None


def test_give_up_fails_the_post_and_it_may_be_retried() -> None:
    """FAILED, with the person's word as the reason."""
    change = resolve(lost(), Word(R.GIVE_UP, "u", comment="gone"), START, LATENESS)
    assert change.post.state is S.FAILED
    assert change.post.failure is not None
    assert change.post.parts[0].state is PartState.FAILED
    assert [entry.kind for entry in change.entries] == [E.RESOLVED, E.FAILED]
    assert rules.retry(change.post, START, LATENESS, "u").post.state is S.SCHEDULED


@pytest.mark.parametrize("state", [state for state in PostState if state is not PostState.UNKNOWN])
def test_only_an_unknown_outcome_is_settled(state: PostState) -> None:
    """Whatever else is true of a post is known."""
    for resolution in Resolution:
        with pytest.raises(FailedPrecondition) as refused:
            resolve(replace(lost(), state=state), Word(resolution, "u", X_POST_ID), START, LATENESS)
        assert refused.value.reason == "INVALID_STATE"
        assert refused.value.metadata["state"] == state.value
