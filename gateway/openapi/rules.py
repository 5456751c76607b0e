"""Rules of buf.validate → JSON Schema keywords.

Exact: len, min_len, max_len, pattern, prefix, suffix, contains, in, not_in, const, well-known formats of strings; bounds, in,
not_in and const of numbers of 32 bits and floats; items, uniqueness, pairs, keys and values; lengths of bytes. JSON Schema has
no words for the bounds of 64-bit integers (they are strings), times and durations, nor for lengths in bytes: those stand as
`x-minimum`, `x-maximum`, `x-exclusive-minimum`, `x-exclusive-maximum`, `x-min-bytes` and `x-max-bytes` beside what can be said.
CEL expressions stay sentences (`sentences`). A schema may be narrower than the rule in one way: where the rule passes over the
zero value (IGNORE_IF_ZERO_VALUE), "" and 0 are what a client leaves out.

Rules are read from dynamic messages, hence Any.
"""

import base64
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from protobuf import DescEnum, ScalarType

from gateway.openapi.well_known import Json
from gateway.transcoding.fields import Element

_FORMATS: Final = {
    "email": "email", "hostname": "hostname", "ipv4": "ipv4", "ipv6": "ipv6",
    "uri": "uri", "uri_ref": "uri-reference", "uuid": "uuid",
}  # fmt: skip
_SHAPES: Final[Mapping[str, Json]] = {
    "ip": {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    "address": {"anyOf": [{"format": "hostname"}, {"format": "ipv4"}, {"format": "ipv6"}]},
    "tuuid": {"pattern": "^[0-9A-Fa-f]{32}$"},
    "ulid": {"pattern": "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$"},
}
_BOUNDS: Final = {
    "lt": "exclusiveMaximum", "lte": "maximum", "gt": "exclusiveMinimum", "gte": "minimum",
}  # fmt: skip
_AS_TEXT: Final = {
    "lt": "x-exclusive-maximum", "lte": "x-maximum", "gt": "x-exclusive-minimum", "gte": "x-minimum",
}  # fmt: skip
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def constrain(schema: Json, rules: Any, element: Element) -> Json:
    """`schema` with the keywords that these FieldRules add; `element` is the type of the value or of its elements."""
    if rules is None or rules.type is None:
        return schema
    apply = _BY_KIND.get(rules.type.field)
    return schema if apply is None else apply(schema, rules.type.value, element)


def sentences(rules: Any) -> list[str]:
    """What the CEL rules of a field or message demand, in the contract's words; nothing for a rule without words."""
    return [one.message for one in rules.cel if one.message] if rules is not None else []


def _text(schema: Json, rules: Any, element: Element) -> Json:
    made = schema | _lengths(rules)
    patterns = [rules.pattern] if rules.pattern else []
    patterns += [f"^{re.escape(rules.prefix)}"] if rules.prefix else []
    patterns += [f"{re.escape(rules.suffix)}$"] if rules.suffix else []
    patterns += [re.escape(rules.contains)] if rules.contains else []
    if patterns:
        made["pattern"] = patterns[0]
    if patterns[1:]:
        made["allOf"] = [{"pattern": one} for one in patterns[1:]]
    if rules.not_contains:
        made["not"] = {"pattern": re.escape(rules.not_contains)}
    known = rules.well_known
    if known is not None and known.value:
        made |= {"format": _FORMATS[known.field]} if known.field in _FORMATS else _SHAPES.get(known.field, {})
    return _choices(made, rules, lambda value: value)


def _lengths(rules: Any) -> Json:
    made: Json = {}
    if rules.min_len or rules.len:
        made["minLength"] = rules.len or rules.min_len
    elif rules.min_bytes or rules.len_bytes:
        least = rules.len_bytes or rules.min_bytes
        made["minLength"] = math.ceil(least / 4)  # UTF-8 has at most four bytes a code point
        if least > 1:
            made["x-min-bytes"] = least
    if rules.has_field("max_len") or rules.len:
        made["maxLength"] = rules.len or rules.max_len
    elif rules.has_field("max_bytes") or rules.len_bytes:
        made["maxLength"] = made["x-max-bytes"] = rules.len_bytes or rules.max_bytes
    return made


def _number(schema: Json, rules: Any, element: Element) -> Json:
    if schema.get("type") == "string":  # 64 bits
        return _choices(schema | _bounds(rules, _AS_TEXT, str), rules, str)
    if "anyOf" in schema and (rules.less_than or rules.greater_than or rules.finite or rules.in_):
        schema = {"type": "number", "format": "double" if element is ScalarType.DOUBLE else "float"}
    return _choices(schema | _bounds(rules, _BOUNDS, lambda value: value), rules, lambda value: value)


def _bounds(rules: Any, names: Mapping[str, str], show: Callable[[Any], Any]) -> Json:
    """Nothing for a range turned inside out (`gt` above `lt`), which means everything outside of it."""
    below, above = rules.less_than, rules.greater_than
    if below is not None and above is not None and _comparable(below.value) < _comparable(above.value):
        return {}
    return {
        names[one.field]: show(one.value) for one in (above, below) if one is not None and one.field in names
    }


def _comparable(value: Any) -> Any:
    return (value.seconds, value.nanos) if hasattr(value, "nanos") else value


def _choices(schema: Json, rules: Any, show: Callable[[Any], Any]) -> Json:
    made = dict(schema)
    if rules.has_field("const"):
        made["const"] = show(rules.const)
    if rules.in_:
        made["enum"] = [show(value) for value in rules.in_]
    if rules.not_in:
        made["not"] = {"enum": [show(value) for value in rules.not_in]}
    return made


def _enum(schema: Json, rules: Any, element: Element) -> Json:
    if not isinstance(element, DescEnum):
        return schema
    names = {value.number: value.name for value in element.values}
    return _choices(schema, rules, lambda number: names.get(number, number))


def _boolean(schema: Json, rules: Any, element: Element) -> Json:
    return schema | {"const": rules.const} if rules.has_field("const") else schema


def _bytes(schema: Json, rules: Any, element: Element) -> Json:
    made = dict(schema)
    least, most = rules.len or rules.min_len, rules.len or rules.max_len
    if least:
        made["minLength"] = math.ceil(least * 4 / 3)  # base64 without padding is accepted
        made["x-min-bytes"] = least
    if most:
        made["maxLength"] = math.ceil(most / 3) * 4
        made["x-max-bytes"] = most
    return _choices(made, rules, lambda value: base64.b64encode(value).decode())


def _list(schema: Json, rules: Any, element: Element) -> Json:
    made = dict(schema)
    if rules.min_items:
        made["minItems"] = rules.min_items
    if rules.has_field("max_items"):
        made["maxItems"] = rules.max_items
    if rules.unique:
        made["uniqueItems"] = True
    if rules.has_field("items"):
        made["items"] = constrain(schema["items"], rules.items, element)
    return made


def _map(schema: Json, rules: Any, element: Element) -> Json:
    made = dict(schema)
    if rules.min_pairs:
        made["minProperties"] = rules.min_pairs
    if rules.has_field("max_pairs"):
        made["maxProperties"] = rules.max_pairs
    if rules.has_field("keys"):
        made["propertyNames"] = constrain(schema.get("propertyNames", {}), rules.keys, ScalarType.STRING)
    if rules.has_field("values"):
        made["additionalProperties"] = constrain(schema["additionalProperties"], rules.values, element)
    return made


def _time(schema: Json, rules: Any, element: Element) -> Json:
    return schema | _bounds(rules, _AS_TEXT, timestamp)


def _duration(schema: Json, rules: Any, element: Element) -> Json:
    return _choices(schema | _bounds(rules, _AS_TEXT, duration), rules, duration)


def timestamp(value: Any) -> str:
    """A google.protobuf.Timestamp in RFC 3339."""
    moment = _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    return moment.isoformat().replace("+00:00", "Z")


def duration(value: Any) -> str:
    """A google.protobuf.Duration as ProtoJSON writes it."""
    seconds = value.seconds + value.nanos / 1e9
    return f"{seconds:g}s" if seconds < 1e6 else f"{value.seconds}s"


_NUMBERS: Final = (
    "float", "double", "int32", "int64", "uint32", "uint64", "sint32", "sint64",
    "fixed32", "fixed64", "sfixed32", "sfixed64",
)  # fmt: skip
_BY_KIND: Final[Mapping[str, Callable[[Json, Any, Element], Json]]] = {
    "string": _text, "bytes": _bytes, "bool": _boolean, "enum": _enum, "repeated": _list, "map": _map,
    "timestamp": _time, "duration": _duration,
} | dict.fromkeys(_NUMBERS, _number)  # fmt: skip
