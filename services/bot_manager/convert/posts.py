"""Posts, their parts, and the entries of their stories."""

from collections.abc import Iterable
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from mesh.errors import InvalidArgument
from services.bot_manager.convert.common import from_time, time_field, to_document
from services.bot_manager.convert.masks import merge, paths_of
from services.bot_manager.domain.model import Approval, Failure, Finding, Part, Post, StoredEntry
from services.bot_manager.domain.rules import Draft, DraftPart
from services.bot_manager.domain.versions import etag_of
from vivesphere.bot_manager.v1 import policy_pb2, post_pb2, timeline_pb2

CONTENT: Final = (
    "poll",
    "reply_to_x_post_id",
    "quote_x_post_id",
    "reply_settings",
    "community_id",
    "made_with_ai",
    "paid_partnership",
    "template",
)
"""Fields that are kept as they are."""
CHANGEABLE: Final = (
    "text",
    "media_ids",
    "parts",
    "scheduled_time",
    "latest_publish_time",
    "queue",
    *CONTENT,
)


def to_draft(post: post_pb2.Post) -> Draft:
    """A post as somebody wrote it."""
    content = merge(post_pb2.Post(), post, CONTENT)
    return Draft(
        text=post.text,
        media_ids=_ids(post.media_ids),
        parts=tuple(DraftPart(part.text, _ids(part.media_ids)) for part in post.parts),
        content=to_document(content),
        queue=post.queue,
        scheduled_time=time_field(post, "scheduled_time"),
        latest_publish_time=time_field(post, "latest_publish_time"),
    )


def to_changed_draft(stored: Post, given: post_pb2.Post, mask: FieldMask) -> Draft:
    """What a post shall be after an update. Raises InvalidArgument (UNKNOWN_FIELD; INVALID_FIELD for another bot)."""
    if given.bot_id and given.bot_id.lower() != stored.bot_id:
        raise InvalidArgument("INVALID_FIELD", "a post stays with its bot", field="post.bot_id")
    paths = paths_of(given, mask, CHANGEABLE)
    merged = merge(from_post(stored), given, paths)
    roots = {path.split(".")[0] for path in paths}
    # `text` and `media_ids` are the short form of the first part: whichever of the two forms is changed carries the other along.
    first = merged.parts[0] if merged.parts else post_pb2.PostPart()
    for name in ("text", "media_ids"):
        if "parts" in roots and name not in roots:
            _carry(name, first, merged)
        elif name in roots and "parts" not in roots:
            _carry(name, merged, first)
    return to_draft(merged)


def _carry(name: str, source: Message, target: Message) -> None:
    target.ClearField(name)
    if name == "text":
        setattr(target, name, getattr(source, name))
    else:
        getattr(target, name).extend(getattr(source, name))


def from_post(post: Post) -> post_pb2.Post:
    """The contract's Post."""
    message = post_pb2.Post(
        id=post.id,
        bot_id=post.bot_id,
        text=post.parts[0].text,
        media_ids=post.parts[0].media_ids,
        parts=[_from_part(part) for part in post.parts],
        scheduled_time=from_time(post.scheduled_time),
        state=post_pb2.PostState.Value(f"POST_STATE_{post.state}"),
        publish_time=from_time(post.publish_time),
        x_post_ids=post.x_post_ids,
        failure=None if post.failure is None else _from_failure(post.failure),
        schedule_id=post.schedule_id,
        create_time=from_time(post.create_time),
        update_time=from_time(post.update_time),
        etag=etag_of(post.version),
        latest_publish_time=from_time(post.latest_publish_time),
        queue=post.queue,
        origin=post_pb2.PostOrigin.Value(f"POST_ORIGIN_{post.origin}"),
        creator=post.creator,
        occurrence_time=from_time(post.occurrence_time),
        attempt_count=post.attempt_count,
        approval=None if post.approval is None else _from_approval(post.approval),
        cost_usd_micros=post.cost_usd_micros,
        findings=[from_finding(finding) for finding in post.findings],
    )
    ParseDict(dict(post.content), message, ignore_unknown_fields=True)
    return message


def from_entry(entry: StoredEntry) -> timeline_pb2.TimelineEntry:
    """The contract's TimelineEntry."""
    message = timeline_pb2.TimelineEntry(
        sequence=entry.sequence,
        time=from_time(entry.time),
        kind=timeline_pb2.TimelineKind.Value(f"TIMELINE_KIND_{entry.kind}"),
        message=entry.message,
        actor=entry.actor,
        instance=entry.instance,
        state=post_pb2.PostState.Value(f"POST_STATE_{entry.state}"),
        part_index=entry.part_index,
        request_id=entry.request_id,
    )
    ParseDict(dict(entry.details), message, ignore_unknown_fields=True)
    return message


def _from_part(part: Part) -> post_pb2.PostPart:
    return post_pb2.PostPart(
        text=part.text,
        media_ids=part.media_ids,
        rendered_text=part.rendered_text,
        x_post_id=part.x_post_id,
        state=post_pb2.PostPartState.Value(f"POST_PART_STATE_{part.state}"),
        publish_time=from_time(part.publish_time),
    )


def _from_failure(failure: Failure) -> post_pb2.PostFailure:
    return post_pb2.PostFailure(
        reason=failure.reason,
        message=failure.message,
        part_index=failure.part_index,
        http_status=failure.http_status,
        problem_type=failure.problem_type,
        problem_detail=failure.problem_detail,
        time=from_time(failure.time),
    )


def from_finding(finding: Finding) -> policy_pb2.PolicyFinding:
    """The contract's PolicyFinding."""
    return policy_pb2.PolicyFinding(
        rule=policy_pb2.PolicyRule.Value(f"POLICY_RULE_{finding.rule}"),
        severity=policy_pb2.FindingSeverity.Value(f"FINDING_SEVERITY_{finding.severity}"),
        message=finding.message,
        part_index=finding.part_index,
        field=finding.field,
        other_post_id=finding.other_post_id,
    )


def _from_approval(approval: Approval) -> post_pb2.PostApproval:
    return post_pb2.PostApproval(
        decision=post_pb2.ApprovalDecision.Value(f"APPROVAL_DECISION_{approval.decision}"),
        approver=approval.approver,
        time=from_time(approval.time),
        comment=approval.comment,
    )


def _ids(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(one.lower() for one in ids)
