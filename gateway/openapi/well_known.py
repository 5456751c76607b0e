"""JSON Schemas of single values, as ProtoJSON writes them.

64-bit integers are strings, bytes base64, times RFC 3339, durations seconds with an `s` (not ISO 8601, so no `duration`
format is claimed); wrappers are the bare value; a double may also be one of three words. Source: ProtoJSON specification,
protobuf.dev/programming-guides/json.
"""

from collections.abc import Mapping
from typing import Any, Final

from protobuf import DescMessage, ScalarType

Json = dict[str, Any]

_WELL_KNOWN: Final = "google.protobuf."
_INT32: Final[Json] = {"type": "integer", "format": "int32"}
_UINT32: Final[Json] = {"type": "integer", "format": "uint32", "minimum": 0}
_INT64: Final[Json] = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_UINT64: Final[Json] = {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}
_NOT_FINITE: Final[Json] = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
_BYTES: Final[Json] = {"type": "string", "format": "byte", "contentEncoding": "base64"}
_BOOL: Final[Json] = {"type": "boolean"}
_STRING: Final[Json] = {"type": "string"}
_DOUBLE: Final[Json] = {"anyOf": [{"type": "number", "format": "double"}, _NOT_FINITE]}
_FLOAT: Final[Json] = {"anyOf": [{"type": "number", "format": "float"}, _NOT_FINITE]}

_SCALARS: Final[Mapping[ScalarType, Json]] = {
    ScalarType.BOOL: _BOOL,
    ScalarType.STRING: _STRING,
    ScalarType.BYTES: _BYTES,
    ScalarType.DOUBLE: _DOUBLE,
    ScalarType.FLOAT: _FLOAT,
    ScalarType.INT32: _INT32,
    ScalarType.SINT32: _INT32,
    ScalarType.SFIXED32: _INT32,
    ScalarType.UINT32: _UINT32,
    ScalarType.FIXED32: _UINT32,
    ScalarType.INT64: _INT64,
    ScalarType.SINT64: _INT64,
    ScalarType.SFIXED64: _INT64,
    ScalarType.UINT64: _UINT64,
    ScalarType.FIXED64: _UINT64,
}

_DURATION: Final = r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"
_FIELD_MASK: Final = r"^[A-Za-z0-9_.]*(,[A-Za-z0-9_.]+)*$"

_MESSAGES: Final[Mapping[str, Json]] = {
    "Timestamp": {"type": "string", "format": "date-time"},
    "Duration": {"type": "string", "pattern": _DURATION},
    "FieldMask": {"type": "string", "pattern": _FIELD_MASK},
    "Struct": {"type": "object", "additionalProperties": True},
    "Value": {"description": "Any JSON value."},
    "ListValue": {"type": "array", "items": {}},
    "Empty": {"type": "object", "additionalProperties": False},
    "Any": {
        "type": "object",
        "properties": {"@type": {"type": "string", "description": "URL that names the type of the rest."}},
        "required": ["@type"],
        "additionalProperties": True,
    },
    "BoolValue": _BOOL,
    "StringValue": _STRING,
    "BytesValue": _BYTES,
    "DoubleValue": _DOUBLE,
    "FloatValue": _FLOAT,
    "Int32Value": _INT32,
    "Int64Value": _INT64,
    "UInt32Value": _UINT32,
    "UInt64Value": _UINT64,
}

_KEYS: Final[Mapping[ScalarType, Json]] = {
    ScalarType.STRING: {},
    ScalarType.BOOL: {"enum": ["true", "false"]},
}


def scalar(kind: ScalarType) -> Json:
    """The schema of a scalar; a new dict."""
    return dict(_SCALARS[kind])


def message(desc: DescMessage) -> Json | None:
    """The schema of a well-known type; None for an ordinary message."""
    if not desc.type_name.startswith(_WELL_KNOWN):
        return None
    found = _MESSAGES.get(desc.type_name.removeprefix(_WELL_KNOWN))
    return None if found is None else dict(found)


def map_key(kind: ScalarType) -> Json:
    """The schema of a map's key, which JSON writes as a string."""
    found = _KEYS.get(kind)
    if found is not None:
        return dict(found)
    return {"pattern": "^[0-9]+$" if kind in _UNSIGNED else "^-?[0-9]+$"}


_UNSIGNED: Final = frozenset({ScalarType.UINT32, ScalarType.UINT64, ScalarType.FIXED32, ScalarType.FIXED64})
