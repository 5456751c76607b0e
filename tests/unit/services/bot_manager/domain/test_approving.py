"""The decision of a second person, as a table of who may and what follows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import FailedPrecondition, PermissionDenied
from services.bot_manager.domain import approving, rules
from services.bot_manager.domain.model import (
    Bot,
    BotState,
    Change,
    Decision,
    Origin,
    Part,
    PartState,
    Post,
    PostState,
)
from services.bot_manager.domain.rules import Draft

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
LATENESS = timedelta(minutes=10)


def waiting(*, at_once: bool = False) -> Post:
    draft = Post("p", "b", PostState.DRAFT, (Part(0, "hello"),), NOW, NOW, creator="ann")
    return rules.create(draft, LATER, LATENESS, waits=True, at_once=at_once).post


def edit(post: Post, draft: Draft, actor: str = "ann", *, waits: bool = True) -> Change:
    return rules.edited(post, rules.revise(post, draft, NOW, LATENESS), actor, waits=waits)


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (None, set()),
        ({"approval": "APPROVAL_POLICY_NONE"}, set()),
        ({"approval": "APPROVAL_POLICY_MANUAL_POSTS"}, {Origin.MANUAL, Origin.IMPORT}),
        ({"approval": "APPROVAL_POLICY_ALL_POSTS"}, set(Origin)),
    ],
)
def test_which_posts_wait(policy: dict[str, str] | None, waits: set[Origin]) -> None:
    """What people write waits, files included; what a schedule makes only if all do."""
    bot = Bot("b", "acme", BotState.ACTIVE, NOW, NOW, policy=policy)
    assert {origin for origin in Origin if approving.needed(bot, origin)} == waits


def test_a_latest_time_holds_while_it_waits_but_not_for_a_post_now() -> None:
    """Who wants it at once wants it whenever it is approved."""
    assert waiting().miss_time == LATER + LATENESS
    assert waiting(at_once=True).miss_time is None
    approved = approving.approve(waiting(at_once=True), "ben", "", LATER, LATENESS).post
    assert (approved.due_time, approved.miss_time) == (LATER, LATER + LATENESS)


def test_too_late_is_refused() -> None:
    """The reaper will mark it MISSED; approving it would promise what cannot be."""
    with pytest.raises(FailedPrecondition):
        approving.approve(waiting(), "ben", "", LATER + LATENESS, LATENESS)


@pytest.mark.parametrize("state", [state for state in PostState if state is not PostState.PENDING_APPROVAL])
def test_only_what_waits_is_decided(state: PostState) -> None:
    """A decision on anything else would change what is under way or done."""
    post = replace(waiting(), state=state)
    for decide in (
        lambda: approving.approve(post, "ben", "", NOW, LATENESS),
        lambda: approving.reject(post, "ben", "no", NOW),
    ):
        with pytest.raises(FailedPrecondition):
            decide()


def test_author_and_last_editor_are_refused() -> None:
    """Who changes only the time has written nothing."""
    edited = edit(waiting(), Draft(text="new", scheduled_time=LATER), "ben").post
    for person in ("ann", "ben"):
        with pytest.raises(PermissionDenied):
            approving.check_approver(edited, person)
    moved = edit(edited, Draft(text="new", scheduled_time=LATER + LATENESS), "cid").post
    approving.check_approver(moved, "cid")


def test_another_rendering_is_another_content() -> None:
    """What a template became is what was seen."""
    approved = approving.approve(waiting(), "ben", "", NOW, LATENESS).post
    moved = rules.revise(approved, Draft(text="hello", scheduled_time=LATER + LATENESS), NOW, LATENESS)
    assert rules.edited(approved, moved, "ann", waits=True).post.state is PostState.SCHEDULED
    rendered = replace(moved, parts=(replace(moved.parts[0], rendered_text="hello again"),))
    again = rules.edited(approved, rendered, "ann", waits=True).post
    assert (again.state, again.approval) == (PostState.PENDING_APPROVAL, approving.Approval(Decision.PENDING))


def test_a_thread_that_has_begun_keeps_its_time() -> None:
    """It is finished, however late."""
    begun = replace(waiting(), miss_time=None, parts=(Part(0, "a", PartState.PUBLISHED, "1"), Part(1, "b")))
    approved = approving.approve(begun, "ben", "", LATER + LATENESS, LATENESS).post
    assert (approved.scheduled_time, approved.miss_time) == (LATER, None)
