"""Times, and parts of messages that are kept as documents."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

M = TypeVar("M", bound=Message)


def to_time(timestamp: Timestamp) -> datetime:
    """An aware UTC time, to the microsecond."""
    return timestamp.ToDatetime(tzinfo=UTC)


def from_time(time: datetime | None) -> Timestamp | None:
    """None stays None: the field is then absent."""
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def to_document(message: Message) -> dict[str, Any]:
    """The message in ProtoJSON with the contract's own field names."""
    return MessageToDict(message, preserving_proto_field_name=True)


def parsed(document: Mapping[str, Any] | None, message: M) -> M | None:
    """`message` filled from what `to_document` made of one; None stays None."""
    if document is None:
        return None
    return ParseDict(dict(document), message, ignore_unknown_fields=True)


def time_field(message: Message, name: str) -> datetime | None:
    """The time in a field; None where it is absent."""
    return to_time(getattr(message, name)) if message.HasField(name) else None


def present(message: Message, names: Iterable[str]) -> list[str]:
    """Those of the fields that are set, in the contract's order."""
    wanted = set(names)
    return [field.name for field, _ in message.ListFields() if field.name in wanted]
