"""`google.protobuf.Value` ↔ JSON. Value knows one kind of number, a double; integral ones become integers here, so 7 stays 7."""

import math
from datetime import datetime

from google.protobuf import struct_pb2, timestamp_pb2

from mesh.errors import InvalidArgument
from services.configuration.domain.values import Json, whole


def to_json(value: struct_pb2.Value, field: str) -> Json:
    """The value as JSON. Raises InvalidArgument (INVALID_FIELD) for NaN, infinity, and a Value without a kind."""
    match value.WhichOneof("kind"):
        case "null_value":
            return None
        case "bool_value":
            return value.bool_value
        case "string_value":
            return value.string_value
        case "number_value" if math.isfinite(value.number_value):
            return whole(value.number_value)
        case "struct_value":
            return struct_to_json(value.struct_value, field)
        case "list_value":
            return [to_json(item, f"{field}[{index}]") for index, item in enumerate(value.list_value.values)]
        case "number_value":
            raise InvalidArgument("INVALID_FIELD", "a number must be finite", field=field)
    raise InvalidArgument("INVALID_FIELD", "a value is required", field=field)


def struct_to_json(struct: struct_pb2.Struct, field: str) -> dict[str, Json]:
    """The object as JSON. Raises as `to_json` does."""
    return {name: to_json(item, f"{field}.{name}") for name, item in struct.fields.items()}


def from_json(value: Json) -> struct_pb2.Value:
    """JSON as a Value."""
    message = struct_pb2.Value()
    _fill(message, value)
    return message


def timestamp(moment: datetime | None) -> timestamp_pb2.Timestamp | None:
    """A Timestamp, or None where there is none: unset in the message."""
    if moment is None:
        return None
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message


def _fill(message: struct_pb2.Value, value: Json) -> None:
    match value:
        case None:
            message.null_value = struct_pb2.NULL_VALUE
        case bool():
            message.bool_value = value
        case int() | float():
            message.number_value = value
        case str():
            message.string_value = value
        case list():
            message.list_value.SetInParent()
            for item in value:
                _fill(message.list_value.values.add(), item)
        case _:
            message.struct_value.SetInParent()
            for name, item in value.items():
                _fill(message.struct_value.fields[name], item)
