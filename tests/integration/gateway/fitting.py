"""Requests that are right: every value is of its field's type, no field is given twice.

What a method takes without a word, so that a fuzz which bends such requests gets behind the checks, and not only to them.
"""

import json
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from protobuf import DescEnum, DescField, DescFieldValueList, DescMessage, ScalarType

from gateway.transcoding import fields
from gateway.transcoding.schema import HttpBinding, Method
from gateway.transcoding.template import parse

_TEXTS = ["a", "a b", "7:x", "ä", "日本", "😀", "a,b", "x" * 100, "~!$&'()*+;=@", "true", "..", "a%b"]
_SMALL = ["0", "1", "5", "2147483647"]
_BY_SCALAR = {
    ScalarType.STRING: _TEXTS,
    ScalarType.BOOL: ["true", "false"],
    ScalarType.BYTES: ["AQI=", "AQI", "-_8", ""],
    ScalarType.DOUBLE: ["0", "1.5", "-1.5", "1e3", "NaN"],
    ScalarType.FLOAT: ["0", "1.5", "-1.5", "1e3", "Infinity"],
}
_BY_TYPE: dict[str, list[Any]] = {
    "google.protobuf.Timestamp": ["2030-01-31T12:00:00Z", "2030-01-31T12:00:00.5+02:00"],
    "google.protobuf.Duration": ["1s", "1.5s", "-0.5s", "0s"],
    "google.protobuf.FieldMask": ["title", "title,sub.text", "updateMask"],
    "google.protobuf.Value": ["a", "1"],
}
_JSON_ONLY: dict[str, list[Any]] = {
    "google.protobuf.Struct": [{}, {"a": 1}, {"a": [{"b": None}]}],
    "google.protobuf.ListValue": [[], [1, "a", None]],
    "google.protobuf.Value": [None, 1.5, [{}], {"a": True}],
    "google.protobuf.Any": [{}, {"@type": "type.googleapis.com/probe.v1.Sub", "text": "a"}, {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"}],
}  # fmt: skip


def texts(element: Any) -> list[str]:
    """Texts for a path or a query; none for what has no form there."""
    if isinstance(element, DescEnum):
        return [*(value.name for value in element.values), "1"]
    if isinstance(element, DescMessage):
        if fields.is_wrapper(element):
            return texts(fields.wrapped(element))
        return _BY_TYPE.get(element.type_name, [])
    if element in fields.INT_SCALARS:
        return _SMALL if "UINT" in element.name or "FIXED" in element.name else [*_SMALL, "-1"]
    return _BY_SCALAR[element]


def message(desc: DescMessage, depth: int = 2) -> st.SearchStrategy[Any]:
    """A JSON object of some of the fields, or what a well-known type has in its place."""
    if fields.has_special_json(desc):
        return _value(desc, depth)
    if not (depth and desc.fields):
        return st.just({})
    chosen = st.lists(st.sampled_from(list(desc.fields)), max_size=4, unique_by=_once)
    return chosen.flatmap(
        lambda some: st.fixed_dictionaries(
            {one.json_name if one.number % 2 else one.name: field(one, depth - 1) for one in some}
        )
    )


def _once(one: DescField) -> str:
    """Of the fields of a oneof one may be given."""
    return fields.oneof_of(one) or one.name


def field(one: DescField, depth: int = 2) -> st.SearchStrategy[Any]:
    """A JSON value for the field."""
    value = _value(fields.element_of(one), depth)
    if isinstance(one.value, DescFieldValueList):
        return st.lists(value, max_size=2)
    if fields.is_map(one):
        return st.dictionaries(st.sampled_from(["a", "1", ""]), value, max_size=2)
    return value


def _value(element: Any, depth: int) -> st.SearchStrategy[Any]:
    if isinstance(element, DescMessage) and not fields.has_special_json(element):
        return message(element, depth)
    if isinstance(element, DescMessage) and element.type_name in _JSON_ONLY:
        return st.sampled_from(_JSON_ONLY[element.type_name])
    if isinstance(element, DescMessage) and fields.is_wrapper(element):
        element = fields.wrapped(element)
    return st.booleans() if element is ScalarType.BOOL else st.sampled_from(texts(element))


@st.composite
def segment(draw: Any, element: Any) -> str:
    """A path segment for a variable of this type."""
    return quote(draw(st.sampled_from(texts(element))), safe=draw(st.sampled_from(["", "~!$&'()*+,;=@"])))


@st.composite
def query(draw: Any, method: Method, binding: HttpBinding) -> str:
    """Parameters for fields that neither path nor body fills."""
    variables = parse(binding.template).variables
    taken = {binding.body, *(variable.field_path.split(".")[0] for variable in variables)}
    free = [one for one in method.input.fields if one.name not in taken and texts(fields.element_of(one))]
    if binding.body == "*" or not free:
        return ""
    chosen = draw(st.lists(st.sampled_from(free), max_size=3, unique_by=_once))
    return "&".join([draw(parameter(one)) for one in chosen])


@st.composite
def parameter(draw: Any, one: DescField) -> str:
    """`name=value` for a field."""
    name = draw(st.sampled_from([one.name, one.json_name]))
    key = f"[{quote(draw(st.sampled_from(['a', 'b.c', 'ä', ''])))}]" if fields.is_map(one) else ""
    return f"{name}{key}={quote(draw(st.sampled_from(texts(fields.element_of(one)))), safe='')}"


def body(method: Method, binding: HttpBinding) -> st.SearchStrategy[bytes]:
    """A body for the field that it fills; of a stream of requests several."""
    named = fields.find(method.input, binding.body) if binding.body != "*" else None
    values = message(method.input) if named is None else field(named)
    if method.kind in ("client_streaming", "bidi_streaming"):
        items = st.lists(values, max_size=3)
        return items.map(lambda some: json.dumps(some).encode()) | items.map(
            lambda some: b"".join(json.dumps(one).encode() + b"\n" for one in some)
        )
    return values.map(lambda value: json.dumps(value, ensure_ascii=False).encode())
