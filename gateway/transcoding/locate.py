"""Finds which fields of a refused JSON value are to blame.

The codec says that a value is not of its type but not where in the message it sits, and it repeats the value. This walk
runs only after a refusal: it offers the codec one field at a time and descends into what is still refused. Descriptions
come from the field's type, so no value is ever repeated.
"""

from protobuf import DescField, DescFieldValueList, DescFieldValueMap, DescMessage

from gateway.transcoding import fields
from gateway.transcoding.codec import Codec, CodecError
from gateway.transcoding.errors import Violation
from gateway.transcoding.fields import JsonValue
from gateway.transcoding.strict import MAX_VIOLATIONS


def violations(codec: Codec, desc: DescMessage, tree: JsonValue) -> list[Violation]:
    """The fields that the codec refuses, at most MAX_VIOLATIONS; empty when only the whole is refused (depth)."""
    found: list[Violation] = []
    if fields.has_special_json(desc):
        return [Violation("(request)", f"expected {fields.expected(desc)}")]
    _message(codec, desc, tree, "", found)
    return found[:MAX_VIOLATIONS]


def with_others(known: list[Violation], codec: Codec, desc: DescMessage, tree: JsonValue) -> list[Violation]:
    """`known` and what the codec refuses beside them, each field once."""
    named = {one.field: one for one in (*violations(codec, desc, tree), *known)}
    return list(named.values())[:MAX_VIOLATIONS]


def _message(codec: Codec, desc: DescMessage, tree: JsonValue, prefix: str, found: list[Violation]) -> None:
    if not isinstance(tree, dict):
        found.append(Violation(prefix.removesuffix(".") or "(body)", "expected a JSON object"))
        return
    for key, value in tree.items():
        if len(found) >= MAX_VIOLATIONS:
            return
        field = fields.find(desc, key)
        if field is not None and not _accepted(codec, desc, field.name, value):
            _field(codec, desc, field, value, prefix + field.name, found)


def _field(
    codec: Codec, desc: DescMessage, field: DescField, value: JsonValue, path: str, found: list[Violation]
) -> None:
    if isinstance(field.value, DescFieldValueList):
        _list(codec, desc, field, value, path, found)
    elif isinstance(field.value, DescFieldValueMap):
        _map(codec, desc, field, value, path, found)
    else:
        _value(codec, field, value, path, found)


def _list(
    codec: Codec, desc: DescMessage, field: DescField, value: JsonValue, path: str, found: list[Violation]
) -> None:
    if not isinstance(value, list):
        found.append(Violation(path, "expected a JSON array"))
        return
    for index, item in enumerate(value):
        if len(found) >= MAX_VIOLATIONS:
            return
        if not _accepted(codec, desc, field.name, [item]):
            _value(codec, field, item, f"{path}[{index}]", found)


def _map(
    codec: Codec, desc: DescMessage, field: DescField, value: JsonValue, path: str, found: list[Violation]
) -> None:
    if not isinstance(value, dict):
        found.append(Violation(path, "expected a JSON object"))
        return
    for key, item in value.items():
        if len(found) >= MAX_VIOLATIONS:
            return
        if not _accepted(codec, desc, field.name, {key: item}):
            _value(codec, field, item, f"{path}[{key[:200]}]", found)


def _value(codec: Codec, field: DescField, value: JsonValue, path: str, found: list[Violation]) -> None:
    element = fields.element_of(field)
    if isinstance(element, DescMessage) and not fields.has_special_json(element) and isinstance(value, dict):
        before = len(found)
        _message(codec, element, value, path + ".", found)
        if len(found) > before:
            return
    found.append(Violation(path, f"expected {fields.expected(element)}"))


def _accepted(codec: Codec, desc: DescMessage, name: str, value: JsonValue) -> bool:
    try:
        codec.message(desc).to_wire({name: value})
    except CodecError:
        return False
    return True
