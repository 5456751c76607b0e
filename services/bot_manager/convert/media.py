"""Media ↔ protobuf."""

from google.protobuf.duration_pb2 import Duration

from services.bot_manager.convert.common import from_time
from services.bot_manager.domain.media import Medium
from services.bot_manager.domain.versions import etag_of
from vivesphere.bot_manager.v1 import media_pb2


def from_medium(medium: Medium) -> media_pb2.Media:
    """A visible file as the contract tells of it."""
    message = media_pb2.Media(
        id=medium.id,
        bot_id=medium.bot_id,
        filename=medium.filename,
        content_type=medium.content_type,
        kind=media_pb2.MediaKind.Value(f"MEDIA_KIND_{medium.kind}"),
        state=media_pb2.MediaState.Value(f"MEDIA_STATE_{medium.state}"),
        size_bytes=medium.size_bytes,
        sha256=medium.sha256,
        width=medium.width,
        height=medium.height,
        alt_text=medium.alt_text,
        failure_message=medium.failure_message,
        create_time=from_time(medium.create_time),
        expire_time=from_time(medium.expire_time),
        etag=etag_of(medium.version),
    )
    if medium.duration is not None:
        duration = Duration()
        duration.FromTimedelta(medium.duration)
        message.duration.CopyFrom(duration)
    return message
