"""Facts about message fields that binding needs: lookup by either name, what kind of value a field takes, and how a text
from a path or a query string becomes a ProtoJSON value of that kind.

A text stays a text wherever ProtoJSON takes a string (numbers, bytes, times, enum names); only booleans, enum numbers and
field masks change shape. Whether the text is a valid number or time is the codec's to say.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from protobuf import (
    DescEnum,
    DescField,
    DescFieldValueEnum,
    DescFieldValueList,
    DescFieldValueMap,
    DescFieldValueMessage,
    DescFieldValueScalar,
    DescMessage,
    ScalarType,
)

JsonValue: TypeAlias = Any  # bool | int | float | str | None | list | dict, as the json module makes them
Element: TypeAlias = ScalarType | DescEnum | DescMessage
Convert: TypeAlias = Callable[[str], JsonValue]

_WELL_KNOWN = "google.protobuf."
_WRAPPERS = frozenset(
    _WELL_KNOWN + name
    for name in (
        "BoolValue", "BytesValue", "DoubleValue", "FloatValue", "Int32Value",
        "Int64Value", "StringValue", "UInt32Value", "UInt64Value",
    )
)  # fmt: skip
_WRAPPER_DEFAULTS: dict[str, JsonValue] = {"BoolValue": False, "BytesValue": "", "StringValue": ""}
_NUMBER_WRAPPERS = _WRAPPERS - {
    _WELL_KNOWN + "BoolValue",
    _WELL_KNOWN + "BytesValue",
    _WELL_KNOWN + "StringValue",
}
_TEXT_FORMS = frozenset(_WELL_KNOWN + name for name in ("Timestamp", "Duration", "Value"))
_SPECIAL_JSON = (
    _WRAPPERS
    | _TEXT_FORMS
    | {_WELL_KNOWN + "FieldMask", _WELL_KNOWN + "Struct", _WELL_KNOWN + "ListValue", _WELL_KNOWN + "Any"}
)
ANY = _WELL_KNOWN + "Any"
FIELD_MASK = _WELL_KNOWN + "FieldMask"
HTTP_BODY = "google.api.HttpBody"
VALUE = _WELL_KNOWN + "Value"
REQUEST_ID = "request_id"  # AIP-155: the field that makes a create idempotent

NUMBER_SCALARS = frozenset(ScalarType) - {ScalarType.BOOL, ScalarType.BYTES, ScalarType.STRING}
INT_SCALARS = NUMBER_SCALARS - {ScalarType.DOUBLE, ScalarType.FLOAT}
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_HUMP = re.compile(r"_([a-z])")


def find(desc: DescMessage, name: str) -> DescField | None:
    """The field with this proto name or JSON name."""
    return _by_name(desc).get(name)


@cache  # one entry a message type of the descriptor set
def _by_name(desc: DescMessage) -> dict[str, DescField]:
    fields = {field.json_name: field for field in desc.fields}
    return fields | {field.name: field for field in desc.fields}


def has_special_json(desc: DescMessage) -> bool:
    """True for the well-known types whose JSON is not an object of their fields."""
    return desc.type_name in _SPECIAL_JSON


def is_wrapper(desc: DescMessage) -> bool:
    """True for google.protobuf.StringValue and its kind."""
    return desc.type_name in _WRAPPERS


def wrapped(desc: DescMessage) -> ScalarType:
    """The scalar in a wrapper."""
    value = desc.fields[0].value
    if not isinstance(value, DescFieldValueScalar):
        raise TypeError(f"{desc.type_name} is no wrapper")
    return value.scalar


def from_fields(desc: DescMessage, tree: dict[str, Any]) -> JsonValue:
    """The ProtoJSON of a wrapper or a Duration given by its fields; anything else as it is.

    A method may take such a type as its whole request, and then path and query name its fields.
    """
    if desc.type_name in _WRAPPERS:
        return tree.get("value", _WRAPPER_DEFAULTS.get(desc.name, "0"))
    if desc.type_name == _WELL_KNOWN + "Duration" and set(tree) <= {"seconds", "nanos"}:
        seconds, nanos = (int(tree.get(name, "0")) for name in ("seconds", "nanos"))
        if abs(nanos) < 1_000_000_000 and seconds * nanos >= 0:
            return f"{'-' if seconds < 0 or nanos < 0 else ''}{abs(seconds)}.{abs(nanos):09d}s"
    return tree


def oneof_of(field: DescField) -> str | None:
    """The name of the oneof that the field belongs to; None also for proto3 `optional`."""
    if isinstance(field.value, DescFieldValueList | DescFieldValueMap) or field.value.oneof is None:
        return None
    return field.value.oneof.name


def submessage(field: DescField) -> DescMessage | None:
    """The type of a singular field of an ordinary message; None for anything else."""
    if isinstance(field.value, DescFieldValueMessage) and not has_special_json(field.value.message):
        return field.value.message
    return None


def is_map(field: DescField) -> bool:
    """True for a map."""
    return isinstance(field.value, DescFieldValueMap)


def element_of(field: DescField) -> Element:
    """The type of the field's value, of its elements, or of its map values."""
    match field.value:
        case DescFieldValueScalar(scalar=scalar):
            return scalar
        case DescFieldValueEnum(enum=enum):
            return enum
        case DescFieldValueMessage(message=message):
            return message
        case DescFieldValueList(element=element):
            return element
        case DescFieldValueMap(value=value):
            return value


def converter(element: Element) -> Convert | None:
    """How a text becomes a JSON value of this type; None when the type has no textual form (messages, Struct, Any)."""
    if isinstance(element, DescEnum):
        return _enum
    if isinstance(element, ScalarType):
        return _boolean if element is ScalarType.BOOL else _same
    if element.type_name == FIELD_MASK:
        return _mask
    if element.type_name == _WELL_KNOWN + "BoolValue":
        return _boolean
    return _same if element.type_name in _WRAPPERS or element.type_name in _TEXT_FORMS else None


def is_decimal(text: str) -> bool:
    """True for an integer in its one decimal spelling: no sign but a minus, no leading zero."""
    return _INTEGER.fullmatch(text) is not None


def is_integer(element: Element) -> bool:
    """True for integer scalars and their wrappers."""
    if isinstance(element, ScalarType):
        return element in INT_SCALARS
    return isinstance(element, DescMessage) and element.type_name in _WRAPPERS and "Int" in element.name


def is_number(element: Element) -> bool:
    """True for integers, floats and doubles and their wrappers."""
    if isinstance(element, ScalarType):
        return element in NUMBER_SCALARS
    return isinstance(element, DescMessage) and element.type_name in _NUMBER_WRAPPERS


def camel_case(name: str) -> str:
    """`display_name` → `displayName`, as protoc makes JSON names."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def mask_path(path: str) -> str:
    """A path of a field mask as ProtoJSON writes it: `sub.display_name` → `sub.displayName`.

    What has no way back (`field_1`) keeps its underscore, and ProtoJSON has no form for it.
    """
    return _HUMP.sub(lambda match: match[1].upper(), path)


def expected(element: Element) -> str:
    """What a value of this type looks like, for messages to people."""
    if isinstance(element, DescEnum):
        return "one of " + ", ".join(value.name for value in element.values[:20])
    if isinstance(element, ScalarType):
        return _SCALAR_WORDS[element]
    return _MESSAGE_WORDS.get(element.type_name, f"a {element.type_name} in ProtoJSON")


_SCALAR_WORDS = {
    scalar: "an integer of 64 bits" if "64" in scalar.name else "an integer of 32 bits"
    for scalar in INT_SCALARS
} | {
    ScalarType.BOOL: "true or false",
    ScalarType.STRING: "a string",
    ScalarType.BYTES: "a base64 string",
    ScalarType.DOUBLE: "a number",
    ScalarType.FLOAT: "a number in the range of float",
}
_MESSAGE_WORDS = {
    _WELL_KNOWN + "Timestamp": 'an RFC 3339 time such as "2030-01-31T12:00:00Z"',
    _WELL_KNOWN + "Duration": 'seconds such as "1.5s"',
    FIELD_MASK: 'field paths such as "displayName,timeZone"',
    _WELL_KNOWN + "Any": 'an object with a known "@type"',
}


def _same(text: str) -> JsonValue:
    return text


def _boolean(text: str) -> JsonValue:
    return {"true": True, "false": False}.get(text, text)


def _enum(text: str) -> JsonValue:
    return int(text) if len(text) < 12 and is_decimal(text) else text


def _mask(text: str) -> JsonValue:
    """A field mask; original names are taken as well as JSON names."""
    return mask_path(text)
