"""How the facts of a timeline entry are written down: the contract's `detail` of TimelineEntry in ProtoJSON, so one key names its kind.

Times as RFC 3339 in UTC, durations as seconds with an "s". Empty facts are left out, as ProtoJSON does.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.bot_manager.domain.model import Answer, Attempt, Document, Failure, Post

MAX_DETAIL_CHARS: Final = 1000
"""What the contract keeps of X's own words, in code points."""


def time_text(time: datetime) -> str:
    """`2026-01-01T00:00:00.000000Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def duration_text(duration: timedelta) -> str:
    """`1.500s`."""
    return f"{duration / timedelta(seconds=1):.3f}s"


def claim_detail(worker: str, fence: int, lease_end: datetime | None) -> Document:
    """Of CLAIMED and LEASE_EXPIRED."""
    return _detail(
        "claim",
        worker=worker,
        fencing_token=str(fence),
        lease_expire_time=time_text(lease_end) if lease_end else None,
    )


def deferral_detail(
    reason: str, until: datetime | None, *, operation: str = "", remaining: int = 0
) -> Document:
    """Of DEFERRED. `reason` is an ErrorReason."""
    return _detail(
        "deferral",
        reason=reason,
        until_time=time_text(until) if until else None,
        operation=operation,
        remaining=remaining,
    )


def cost_detail(amount: int, today: int, daily_budget: int) -> Document:
    """Of COST_RESERVED and COST_SETTLED; millionths of a US dollar."""
    return _detail(
        "cost",
        amount_usd_micros=str(amount),
        today_usd_micros=str(today),
        daily_budget_usd_micros=str(daily_budget),
    )


def media_upload_detail(media_id: str, x_media_id: str, state: str, latency: timedelta | None) -> Document:
    """Of MEDIA_UPLOADED. `state` is a name of the contract's MediaState; `latency` from first byte to ready."""
    return _detail(
        "media_upload",
        media_id=media_id,
        x_media_id=x_media_id,
        state=f"MEDIA_STATE_{state}",
        latency=duration_text(latency) if latency is not None else None,
    )


def attempt_detail(
    attempt: Attempt, answer: Answer | None = None, *, next_step: str = "", next_time: datetime | None = None
) -> Document:
    """Of ATTEMPT_STARTED, and with an answer of ATTEMPT_FINISHED."""
    facts: dict[str, Any] = {"number": attempt.number, "request_hash": attempt.request_hash}
    if answer is not None:
        facts |= {
            "outcome": f"ATTEMPT_OUTCOME_{answer.outcome}",
            "http_status": answer.http_status,
            "problem_type": answer.problem_type,
            "problem_detail": answer.problem_detail[:MAX_DETAIL_CHARS],
            "x_request_id": answer.x_request_id,
            "latency": duration_text(answer.latency),
            "x_post_id": answer.x_post_id,
            "next_step": next_step,
            "next_time": time_text(next_time) if next_time else None,
        }
    return _detail("attempt", **facts)


def reconcile_detail(
    number: int,
    *,
    posts_seen: int = 0,
    candidates: int = 0,
    x_post_id: str = "",
    clean: bool = False,
    failure: str = "",
    settle_time: datetime | None = None,
    next_time: datetime | None = None,
) -> Document:
    """Of RECONCILE_READ."""
    return _detail(
        "reconcile",
        number=number,
        posts_seen=posts_seen,
        candidates=candidates,
        x_post_id=x_post_id,
        clean=clean,
        failure=failure,
        settle_time=time_text(settle_time) if settle_time else None,
        next_time=time_text(next_time) if next_time else None,
    )


def schedule_detail(
    post: Post, *, now: datetime | None = None, changed_fields: Sequence[str] = ()
) -> Document:
    """Of CREATED, EDITED, SCHEDULED, DUE and PUBLISHED. With `now`, how late the post is then."""
    late = max(now - post.scheduled_time, timedelta()) if now and post.scheduled_time else None
    return _detail(
        "schedule",
        scheduled_time=time_text(post.scheduled_time) if post.scheduled_time else None,
        schedule_id=post.schedule_id,
        lateness=duration_text(late) if late is not None else None,
        changed_fields=list(changed_fields),
    )


def decision_detail(comment: str, *, resolution: str = "", x_post_id: str = "") -> Document:
    """Of CANCELLED, RETRY_REQUESTED and RESOLVED."""
    return _detail("decision", comment=comment, resolution=resolution, x_post_id=x_post_id)


def failure_detail(failure: Failure) -> Document:
    """Of FAILED and MISSED."""
    return _detail("failure", **failure_document(failure))


def failure_document(failure: Failure) -> dict[str, Any]:
    """The contract's PostFailure."""
    return {
        "reason": failure.reason,
        "message": failure.message,
        "part_index": failure.part_index,
        "http_status": failure.http_status,
        "problem_type": failure.problem_type,
        "problem_detail": failure.problem_detail[:MAX_DETAIL_CHARS],
        "time": time_text(failure.time),
    }


def _detail(kind: str, **facts: Any) -> Document:
    return {kind: {name: fact for name, fact in facts.items() if fact not in (None, "", 0, False, [])}}
