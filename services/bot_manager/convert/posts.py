"""Posts, their parts, and the entries of their stories."""

from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict

from mesh.errors import InvalidArgument
from services.bot_manager.convert.common import from_time, present, time_field, to_document
from services.bot_manager.convert.masks import merge, paths_of
from services.bot_manager.domain.model import Failure, Part, Post, StoredEntry
from services.bot_manager.domain.rules import Draft
from services.bot_manager.domain.versions import etag_of
from vivesphere.bot_manager.v1 import post_pb2, timeline_pb2

CONTENT: Final = (
    "poll",
    "reply_to_x_post_id",
    "quote_x_post_id",
    "reply_settings",
    "community_id",
    "made_with_ai",
    "paid_partnership",
)
"""Fields that are kept and sent as they are."""
UNSUPPORTED: Final = ("media_ids", "template")
CHANGEABLE: Final = (
    "text",
    "parts",
    "scheduled_time",
    "latest_publish_time",
    "queue",
    *CONTENT,
    *UNSUPPORTED,
)


def to_draft(post: post_pb2.Post) -> Draft:
    """A post as somebody wrote it."""
    content = merge(post_pb2.Post(), post, CONTENT)
    return Draft(
        text=post.text,
        parts=tuple(part.text for part in post.parts),
        content=to_document(content),
        queue=post.queue,
        scheduled_time=time_field(post, "scheduled_time"),
        latest_publish_time=time_field(post, "latest_publish_time"),
        unsupported=_unsupported(post),
    )


def to_changed_draft(stored: Post, given: post_pb2.Post, mask: FieldMask) -> Draft:
    """What a post shall be after an update. Raises InvalidArgument (UNKNOWN_FIELD; INVALID_FIELD for another bot)."""
    if given.bot_id and given.bot_id.lower() != stored.bot_id:
        raise InvalidArgument("INVALID_FIELD", "a post stays with its bot", field="post.bot_id")
    paths = paths_of(given, mask, CHANGEABLE)
    merged = merge(from_post(stored), given, paths)
    roots = {path.split(".")[0] for path in paths}
    # `text` is the short form of the first part: whichever of the two is changed carries the other along.
    if "parts" in roots and "text" not in roots:
        merged.text = merged.parts[0].text if merged.parts else ""
    elif "text" in roots and "parts" not in roots:
        merged.parts[0].text = merged.text
    return to_draft(merged)


def from_post(post: Post) -> post_pb2.Post:
    """The contract's Post."""
    message = post_pb2.Post(
        id=post.id,
        bot_id=post.bot_id,
        text=post.parts[0].text,
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


def _unsupported(post: post_pb2.Post) -> tuple[str, ...]:
    found = [f"post.{name}" for name in present(post, UNSUPPORTED)]
    return (
        *found,
        *(f"post.parts[{index}].media_ids" for index, part in enumerate(post.parts) if part.media_ids),
    )
