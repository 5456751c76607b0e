"""The decision of a second person on a post, as the bot's policy asks for it.

What is approved is what was seen: content and rendered text. A change of either takes the decision back; another time does not. People
are told apart by user id, so whoever acts by an API key is the user whose key it is.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from mesh.errors import FailedPrecondition, PermissionDenied
from services.bot_manager.domain import story
from services.bot_manager.domain.lifecycle import PostEvent, next_state
from services.bot_manager.domain.model import (
    Approval,
    Bot,
    Change,
    Decision,
    Entry,
    EntryKind,
    Origin,
    Post,
    PostState,
)

_WAITING: Final = {
    "APPROVAL_POLICY_MANUAL_POSTS": frozenset({Origin.MANUAL, Origin.IMPORT}),
    "APPROVAL_POLICY_ALL_POSTS": frozenset(Origin),
}
"""Origins of posts that wait, by the contract's word; an import is what people wrote."""


def needed(bot: Bot, origin: Origin) -> bool:
    """Whether the bot's policy wants a second person for posts of this origin."""
    return origin in _WAITING.get(str((bot.policy or {}).get("approval", "")), ())


def is_approved(post: Post) -> bool:
    """Whether a second person let it go as it is."""
    return post.approval is not None and post.approval.decision is Decision.APPROVED


def submit(post: Post, actor: str, why: str) -> Change:
    """The post, which has its time, waiting for a second person."""
    state = next_state(post.state, PostEvent.SUBMIT)
    return Change(
        replace(post, state=state, approval=Approval(Decision.PENDING)),
        (Entry(EntryKind.APPROVAL_REQUESTED, why, actor, details=story.schedule_detail(post), state=state),),
    )


def has_decided(post: Post, actor: str, decision: Decision) -> bool:
    """Whether this person has said just that, so that a repeat changes nothing."""
    known = post.approval
    return known is not None and known.decision is decision and known.approver == actor


def check_approver(post: Post, actor: str) -> None:
    """Raises FailedPrecondition (INVALID_STATE), PermissionDenied (SELF_APPROVAL_REFUSED)."""
    next_state(post.state, PostEvent.APPROVE)
    if actor in (post.creator, post.editor):
        raise PermissionDenied(
            "SELF_APPROVAL_REFUSED", "who made or last changed a post cannot approve it; ask somebody else"
        )


def approve(post: Post, actor: str, comment: str, now: datetime, lateness: timedelta) -> Change:
    """Let it go: at its time, or at once if that has come. Raises as `check_approver`, and INVALID_STATE if it is too late."""
    check_approver(post, actor)
    if post.miss_time is not None and post.miss_time <= now:
        raise FailedPrecondition(
            "INVALID_STATE",
            "its latest time has passed; give it a new time first",
            metadata={"state": post.state.value, "event": PostEvent.APPROVE.value},
        )
    if post.miss_time is None and not post.x_post_ids:
        # It was to go out at once: its time begins now.
        post = replace(post, scheduled_time=now, miss_time=now + lateness)
    approved = replace(
        post,
        state=next_state(post.state, PostEvent.APPROVE),
        due_time=post.scheduled_time,
        approval=Approval(Decision.APPROVED, actor, now, comment),
    )
    details = story.schedule_detail(approved)
    return Change(
        approved,
        (
            Entry(EntryKind.APPROVED, "approved", actor, details=story.decision_detail(comment)),
            Entry(EntryKind.SCHEDULED, "it has its time", actor, details=details),
        ),
    )


def reject(post: Post, actor: str, reason: str, now: datetime) -> Change:
    """Back to its author. Raises FailedPrecondition (INVALID_STATE)."""
    rejected = replace(
        post,
        state=next_state(post.state, PostEvent.REJECT),
        scheduled_time=None,
        due_time=None,
        miss_time=None,
        approval=Approval(Decision.REJECTED, actor, now, reason),
    )
    entry = Entry(EntryKind.REJECTED, "sent back", actor, details=story.decision_detail(reason))
    return Change(rejected, (entry,))


def is_waiting(post: Post) -> bool:
    """Whether it waits for a second person."""
    return post.state is PostState.PENDING_APPROVAL
