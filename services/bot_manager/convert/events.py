"""Events, and what is asked of them."""

from collections.abc import Iterable

from google.protobuf.json_format import ParseDict

from services.bot_manager.convert.common import from_time
from services.bot_manager.domain.happenings import EventType
from services.bot_manager.domain.watching import Event, Wanted
from vivesphere.bot_manager.v1 import event_pb2, post_service_pb2


def to_wanted(request: post_service_pb2.WatchEventsRequest) -> Wanted:
    """What a watcher asks for."""
    return Wanted(request.bot_id.lower(), request.post_id.lower(), to_types(request.types))


def to_types(types: Iterable[event_pb2.EventType.ValueType]) -> frozenset[EventType]:
    """Types by name."""
    return frozenset(EventType(event_pb2.EventType.Name(one).removeprefix("EVENT_TYPE_")) for one in types)


def from_event(event: Event) -> event_pb2.Event:
    """The contract's Event."""
    message = event_pb2.Event(
        id=event.id,
        time=from_time(event.time),
        type=event_pb2.EventType.Value(f"EVENT_TYPE_{event.type}"),
        bot_id=event.bot_id,
        post_id=event.post_id,
        schedule_id=event.schedule_id,
        app_id=event.app_id,
        media_id=event.media_id,
        webhook_id=event.webhook_id,
        actor=event.actor,
        request_id=event.request_id,
        message=event.message,
    )
    if event.detail is not None:
        ParseDict(dict(event.detail), message, ignore_unknown_fields=True)
    return message
