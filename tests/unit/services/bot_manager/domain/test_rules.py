"""What people may make of a post, and how bad input is named."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import FailedPrecondition, InvalidArgument, MeshError
from services.bot_manager.domain import rules
from services.bot_manager.domain.model import EntryKind, Failure, Part, PartState, Post, PostState
from services.bot_manager.domain.rules import Draft, DraftPart

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
LATENESS = timedelta(minutes=10)


def draft_post(*texts: str) -> Post:
    parts = tuple(Part(index, text) for index, text in enumerate(texts or ("hello",)))
    return Post("p", "b", PostState.DRAFT, parts, NOW, NOW, creator="ann")


def scheduled(*texts: str) -> Post:
    return rules.create(draft_post(*texts), LATER, LATENESS).post


def edit(post: Post, draft: Draft) -> rules.Change:
    return rules.edited(post, rules.revise(post, draft, NOW, LATENESS), "ann", waits=False)


@pytest.mark.parametrize(
    ("draft", "reason", "field"),
    [
        (Draft(), "INVALID_FIELD", "post.text"),
        (Draft(text=" \n"), "INVALID_FIELD", "post.text"),
        (Draft(parts=(DraftPart("fine"), DraftPart(" "))), "INVALID_FIELD", "post.parts[1].text"),
        (Draft(text="one", parts=(DraftPart("other"),)), "CONFLICTING_FIELD", "post.text"),
        (
            Draft(media_ids=("m",), parts=(DraftPart(media_ids=("n",)),)),
            "CONFLICTING_FIELD",
            "post.media_ids",
        ),
        (
            Draft(text="one", content={"poll": {}, "quote_x_post_id": "1"}),
            "CONFLICTING_FIELD",
            "post.quote_x_post_id",
        ),
    ],
)
def test_a_bad_draft_is_refused_by_field(draft: Draft, reason: str, field: str) -> None:
    """The writer is told where, not only that."""
    with pytest.raises(InvalidArgument) as refused:
        rules.parts_of(draft)
    assert refused.value.reason == reason
    assert refused.value.violations[0].field == field


def test_texts_are_normalised() -> None:
    """X normalises too; the reconciler compares what was sent with what X shows."""
    [part] = rules.parts_of(Draft(text="cafe\u0301", parts=(DraftPart("café"),)))
    assert part.text == "café"


def test_a_part_of_media_needs_no_text() -> None:
    """A picture says enough."""
    [part] = rules.parts_of(Draft(media_ids=("m",)))
    assert (part.text, part.media_ids) == ("", ("m",))


def test_a_post_without_a_time_is_a_draft() -> None:
    """It never goes out by itself."""
    change = rules.create(draft_post(), None, LATENESS)
    assert (change.post.state, change.post.due_time) == (PostState.DRAFT, None)
    assert [entry.kind for entry in change.entries] == [EntryKind.CREATED]


def test_the_latest_time_is_the_writers_or_the_policys() -> None:
    """It may not lie before the time itself."""
    assert scheduled().miss_time == LATER + LATENESS
    given = replace(draft_post(), latest_publish_time=LATER)
    assert rules.create(given, LATER, LATENESS).post.miss_time == LATER
    with pytest.raises(InvalidArgument) as refused:
        rules.create(replace(given, latest_publish_time=NOW), LATER, LATENESS)
    assert refused.value.violations[0].field == "post.latest_publish_time"


def test_an_edit_moves_between_draft_and_scheduled() -> None:
    """Giving a time schedules, taking it away makes a draft again."""
    timed = edit(draft_post(), Draft(text="hello", scheduled_time=LATER)).post
    assert (timed.state, timed.due_time) == (PostState.SCHEDULED, LATER)
    change = edit(timed, Draft(text="changed"))
    assert (change.post.state, change.post.due_time, change.post.miss_time) == (PostState.DRAFT, None, None)
    assert [entry.kind for entry in change.entries] == [EntryKind.EDITED]
    assert change.entries[0].details["schedule"]["changed_fields"] == ["parts", "scheduled_time"]


def test_an_edit_that_changes_nothing_writes_nothing() -> None:
    """A post that was read and sent back keeps its version."""
    post = scheduled()
    assert edit(post, Draft(text="hello", scheduled_time=LATER)) == rules.Change(post)


def test_a_time_in_the_past_is_refused_unless_it_was_there() -> None:
    """An overdue post may still have its text corrected."""
    with pytest.raises(InvalidArgument) as refused:
        edit(draft_post(), Draft(text="hello", scheduled_time=NOW))
    assert refused.value.reason == "TIME_IN_PAST"
    assert refused.value.violations[0].field == "post.scheduled_time"
    overdue = replace(scheduled(), scheduled_time=NOW - LATENESS)
    assert edit(overdue, Draft(text="new", scheduled_time=NOW - LATENESS)).post.parts[0].text == "new"


def test_what_is_on_x_cannot_be_edited() -> None:
    """The record must show what X shows."""
    post = scheduled("one", "two")
    post = replace(
        post, parts=(replace(post.parts[0], state=PartState.PUBLISHED, x_post_id="1"), post.parts[1])
    )
    assert (
        edit(post, Draft(parts=(DraftPart("one"), DraftPart("2")), scheduled_time=LATER)).post.parts[1].text
        == "2"
    )
    for texts in (("1", "two"), ("one",)):
        with pytest.raises(FailedPrecondition):
            edit(post, Draft(parts=tuple(map(DraftPart, texts)), scheduled_time=LATER))
    with pytest.raises(FailedPrecondition):
        edit(post, Draft(parts=(DraftPart("one"), DraftPart("two"))))


def test_a_retry_begins_anew() -> None:
    """With a fresh count of attempts and a latest time that makes sense; parts on X stay."""
    failed = replace(
        scheduled("one", "two"),
        state=PostState.FAILED,
        failure=Failure("X_REJECTED", "no", NOW),
        attempt_count=5,
        latest_publish_time=LATER,
        parts=(
            Part(0, "one", PartState.PUBLISHED, "1", NOW),
            Part(1, "two", PartState.FAILED),
        ),
    )
    again = rules.retry(failed, LATER + LATENESS, LATENESS, "ann").post
    assert (again.state, again.failure, again.tries) == (PostState.SCHEDULED, None, 0)
    assert again.latest_publish_time is None
    assert again.miss_time is None
    assert [part.state for part in again.parts] == [PartState.PUBLISHED, PartState.PENDING]


def test_calling_off_twice_is_calling_off_once() -> None:
    """A repeat is answered unchanged, so that it can be repeated."""
    change = rules.cancel(scheduled(), "ann", "no longer true")
    assert (change.post.state, change.post.due_time) == (PostState.CANCELLED, None)
    assert rules.cancel(change.post, "ann", "") == rules.Change(change.post)


@pytest.mark.parametrize("state", [PostState.CLAIMED, PostState.PUBLISHING, PostState.UNKNOWN])
@pytest.mark.parametrize(
    "act",
    [
        lambda post: rules.cancel(post, "ann", ""),
        lambda post: rules.retry(post, LATER, LATENESS, "ann"),
        lambda post: edit(post, Draft(text="new")),
    ],
)
def test_nobody_interferes_with_a_post_under_way(state: PostState, act: Callable[[Post], object]) -> None:
    """X may be hearing of it this moment."""
    with pytest.raises(MeshError) as refused:
        act(replace(scheduled(), state=state))
    assert refused.value.reason == "INVALID_STATE"
