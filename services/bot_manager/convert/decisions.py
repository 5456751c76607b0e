"""What people decide about posts."""

from services.bot_manager.domain.resolving import Resolution, Word
from vivesphere.bot_manager.v1 import post_service_pb2, timeline_pb2


def to_word(request: post_service_pb2.ResolvePostRequest, actor: str) -> Word:
    """A person's word on a post of unknown outcome."""
    name = timeline_pb2.PostResolution.Name(request.resolution)
    resolution = Resolution(name.removeprefix("POST_RESOLUTION_"))
    return Word(resolution, actor, request.x_post_id, request.comment)
