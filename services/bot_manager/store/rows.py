"""Rows of the tables ↔ the domain's objects. Total in both directions."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from services.bot_manager.domain.cadence import first_read
from services.bot_manager.domain.model import (
    Approval,
    Attempt,
    Bot,
    BotState,
    CredentialsStatus,
    Decision,
    EntryKind,
    Failure,
    Finding,
    Origin,
    Part,
    PartState,
    PolicyRule,
    Post,
    PostState,
    Severity,
    StateDetail,
    StoredEntry,
)
from services.bot_manager.domain.money import App, AppState, Tier
from services.bot_manager.domain.story import failure_document, time_text


def bot_values(bot: Bot) -> dict[str, Any]:
    """All columns of `bots`."""
    return {
        "id": bot.id,
        "app_id": bot.app_id or None,
        "handle": bot.handle,
        "handle_key": bot.handle.casefold(),
        "display_name": bot.display_name,
        "time_zone": bot.time_zone,
        "language": bot.language,
        "state": bot.state.value,
        "state_reason": bot.state_detail.reason,
        "state_message": bot.state_detail.message,
        "state_actor": bot.state_detail.actor,
        "state_time": bot.state_detail.time,
        "x_user_id": bot.x_user_id,
        "labels": dict(bot.labels),
        "automation": bot.automation,
        "policy": bot.policy,
        "budget": bot.budget,
        "slots": list(bot.slots),
        "credentials": None if bot.credentials is None else _credentials_document(bot.credentials),
        "creator": bot.creator,
        "version": bot.version,
        "create_time": bot.create_time,
        "update_time": bot.update_time,
    }


def to_bot(row: Row[Any]) -> Bot:
    """A row of `bots`."""
    return Bot(
        id=row.id,
        app_id=row.app_id or "",
        handle=row.handle,
        display_name=row.display_name,
        time_zone=row.time_zone,
        language=row.language,
        state=BotState(row.state),
        state_detail=StateDetail(row.state_reason, row.state_message, row.state_actor, row.state_time),
        x_user_id=row.x_user_id,
        labels=row.labels,
        automation=row.automation,
        policy=row.policy,
        budget=row.budget,
        slots=tuple(row.slots),
        credentials=None if row.credentials is None else _to_credentials(row.credentials),
        creator=row.creator,
        version=row.version,
        create_time=row.create_time,
        update_time=row.update_time,
    )


def post_values(post: Post) -> dict[str, Any]:
    """All columns of `posts`."""
    return {
        "id": post.id,
        "bot_id": post.bot_id,
        "creator": post.creator,
        "origin": post.origin.value,
        "schedule_id": post.schedule_id or None,
        "occurrence_time": post.occurrence_time,
        "occurrence_item": post.occurrence_item,
        "create_time": post.create_time,
        **content_values(post),
        **ledger_values(post),
    }


def content_values(post: Post) -> dict[str, Any]:
    """Columns of `posts` that an edit may change besides those of the ledger."""
    return {
        "content": dict(post.content),
        "queue": post.queue,
        "editor": post.editor,
        "approval": None if post.approval is None else _approval_document(post.approval),
        "findings": [asdict(finding) for finding in post.findings],
    }


def ledger_values(post: Post) -> dict[str, Any]:
    """Columns of `posts` that publishing changes."""
    return {
        "state": post.state.value,
        "scheduled_time": post.scheduled_time,
        "latest_publish_time": post.latest_publish_time,
        "miss_time": post.miss_time,
        "due_time": post.due_time,
        "publish_time": post.publish_time,
        "failure": None if post.failure is None else failure_document(post.failure),
        "claim_fence": post.claim_fence,
        "claimed_by": post.claimed_by,
        "lease_end_time": post.lease_end_time,
        "attempt_count": post.attempt_count,
        "attempts_before": post.attempts_before,
        "entry_count": post.entry_count,
        "cost_usd_micros": post.cost_usd_micros,
        "version": post.version,
        "update_time": post.update_time,
    }


def to_post(row: Row[Any], parts: Iterable[Part]) -> Post:
    """A row of `posts` with its parts in order."""
    return Post(
        id=row.id,
        bot_id=row.bot_id,
        state=PostState(row.state),
        parts=tuple(parts),
        content=row.content,
        queue=row.queue,
        creator=row.creator,
        editor=row.editor,
        approval=None if row.approval is None else _to_approval(row.approval),
        findings=tuple(map(_to_finding, row.findings)),
        cost_usd_micros=row.cost_usd_micros,
        origin=Origin(row.origin),
        schedule_id=row.schedule_id or "",
        occurrence_time=row.occurrence_time,
        occurrence_item=row.occurrence_item,
        scheduled_time=row.scheduled_time,
        latest_publish_time=row.latest_publish_time,
        miss_time=row.miss_time,
        due_time=row.due_time,
        publish_time=row.publish_time,
        failure=None if row.failure is None else _to_failure(row.failure),
        claim_fence=row.claim_fence,
        claimed_by=row.claimed_by,
        lease_end_time=row.lease_end_time,
        attempt_count=row.attempt_count,
        attempts_before=row.attempts_before,
        entry_count=row.entry_count,
        version=row.version,
        create_time=row.create_time,
        update_time=row.update_time,
    )


def part_values(post_id: str, part: Part) -> dict[str, Any]:
    """Columns of `post_parts`; `gone_time` is none of a post's own."""
    return {
        "post_id": post_id,
        "index": part.index,
        "text": part.text,
        "rendered_text": part.rendered_text,
        "media_ids": list(part.media_ids),
        "state": part.state.value,
        "x_post_id": part.x_post_id or None,
        "publish_time": part.publish_time,
        "next_read_time": first_read(part.publish_time),
    }


def to_part(row: Row[Any]) -> Part:
    """A row of `post_parts`."""
    # `index` is a method of tuples, and so of rows.
    return Part(
        row._mapping["index"],
        row.text,
        PartState(row.state),
        row.x_post_id or "",
        row.publish_time,
        tuple(row.media_ids),
        row.rendered_text,
    )


def attempt_values(attempt: Attempt, worker: str) -> dict[str, Any]:
    """Columns of `attempts` that an intent has."""
    return {
        "id": attempt.id,
        "post_id": attempt.post_id,
        "part_index": attempt.part_index,
        "number": attempt.number,
        "fence": attempt.fence,
        "request_hash": attempt.request_hash,
        "started_time": attempt.started_time,
        "app_id": attempt.charge.app_id or None,
        "cost_usd_micros": attempt.charge.cost_usd_micros,
        "worker": worker,
    }


def app_values(app: App) -> dict[str, Any]:
    """All columns of `apps`."""
    return asdict(app) | {"tier": app.tier.value, "state": app.state.value}


def to_app(row: Row[Any]) -> App:
    """A row of `apps`."""
    values = {name: row._mapping[name] for name in App.__slots__}
    return App(**values | {"tier": Tier(row.tier), "state": AppState(row.state)})


def to_entry(row: Row[Any]) -> StoredEntry:
    """A row of `post_events`."""
    return StoredEntry(
        sequence=row.sequence,
        time=row.time,
        kind=EntryKind(row.kind),
        message=row.message,
        actor=row.actor,
        instance=row.instance,
        state=PostState(row.state),
        part_index=row.part_index,
        request_id=row.request_id,
        details=row.details,
    )


def _approval_document(approval: Approval) -> dict[str, Any]:
    time = None if approval.time is None else time_text(approval.time)
    return {
        "decision": approval.decision.value,
        "approver": approval.approver,
        "comment": approval.comment,
        "time": time,
    }


def _to_approval(document: Mapping[str, Any]) -> Approval:
    return Approval(
        Decision(document["decision"]), document["approver"], _time(document["time"]), document["comment"]
    )


def _to_finding(document: Mapping[str, Any]) -> Finding:
    rule, severity = PolicyRule(document["rule"]), Severity(document["severity"])
    return Finding(**{**document, "rule": rule, "severity": severity})


def _credentials_document(status: CredentialsStatus) -> dict[str, Any]:
    times = {"verify_time": status.verify_time, "expire_time": status.expire_time}
    return {
        "kind": status.kind,
        "version": status.version,
        "verified": status.verified,
        "scopes": list(status.scopes),
        "failure_reason": status.failure_reason,
        **{name: time_text(time) for name, time in times.items() if time is not None},
    }


def _to_credentials(document: Mapping[str, Any]) -> CredentialsStatus:
    return CredentialsStatus(
        kind=document["kind"],
        version=document["version"],
        verified=document["verified"],
        verify_time=_time(document.get("verify_time")),
        expire_time=_time(document.get("expire_time")),
        scopes=tuple(document["scopes"]),
        failure_reason=document["failure_reason"],
    )


def _to_failure(document: Mapping[str, Any]) -> Failure:
    return Failure(**{**document, "time": datetime.fromisoformat(document["time"])})


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
