"""A protobuf message as plain JSON data, with every field that its contract marks `debug_redact` replaced.

The form is proto JSON (lowerCamelCase names, enum names, int64 as text) apart from bytes, of which only the size is told, and from
its bounds: long texts are cut and, once the whole has reached `MAX_BYTES`, what is left is replaced by "[cut]". Unset fields do not
appear. Texts pass the redactor as well, for secrets that sit in a field where nobody expected one.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from mesh.redaction.redactor import CUT, JsonValue, is_sensitive_name, redactor
from mesh.redaction.shapes import REDACTED

KiB = 1024
MAX_BYTES: Final = 16 * KiB
MAX_TEXT_CHARS: Final = 1024
MAX_DEPTH: Final = 16
WELL_KNOWN: Final = "google.protobuf."
_WIDE: Final = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED64,
    }
)

Convert = Callable[["_Budget", Any, int], JsonValue]


class _Budget:
    """How many bytes the result may still grow by, about."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def take(self, size: int) -> bool:
        self.left -= size
        return self.left >= 0


def redact_message(message: Message, max_bytes: int = MAX_BYTES) -> dict[str, JsonValue]:
    """The message as a dictionary that json and google.protobuf.Struct take, without secrets and about `max_bytes` large at most."""
    return _message(_Budget(max_bytes), message, 0)


def redact_details(details: Mapping[str, object], max_bytes: int = MAX_BYTES) -> dict[str, JsonValue]:
    """Named JSON values without secrets, about `max_bytes` large at most: a value that does not fit any more is "[cut]"."""
    result: dict[str, JsonValue] = {}
    left = max_bytes
    for name, value in details.items():
        clean = redactor.value(value, name)
        size = len(name) + len(json.dumps(clean, ensure_ascii=False).encode())
        fits = size <= left
        result[redactor.constant(name)] = clean if fits else CUT
        left -= size if fits else len(name) + len(CUT)
    return result


def _message(budget: _Budget, message: Message, depth: int) -> dict[str, JsonValue]:
    plan = _plan(message.DESCRIPTOR)
    result: dict[str, JsonValue] = {}
    for field, value in message.ListFields():
        name, convert = plan[field.number]
        if depth >= MAX_DEPTH or not budget.take(len(name) + 4):
            result[CUT] = True
            break
        result[name] = convert(budget, value, depth + 1)
    return result


@cache
def _plan(descriptor: Descriptor) -> dict[int, tuple[str, Convert]]:
    """Field number → JSON name and conversion; once a type."""
    return {field.number: (field.json_name, _conversion(field)) for field in descriptor.fields}


def _conversion(field: FieldDescriptor) -> Convert:
    if field.GetOptions().debug_redact:
        return _secret
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map_of(field.message_type.fields_by_name["value"])
    single = _single(field)
    return _list_of(single) if field.is_repeated else single


def _single(field: FieldDescriptor) -> Convert:
    if field.message_type is not None:
        return _well_known if field.message_type.full_name.startswith(WELL_KNOWN) else _message
    if field.enum_type is not None:
        return _enum_of(field.enum_type)
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes
    return _wide if field.type in _WIDE else _number


def _secret(budget: _Budget, value: Any, depth: int) -> JsonValue:
    return REDACTED


def _text(budget: _Budget, value: str, depth: int) -> JsonValue:
    # Redacted before it is cut: half a secret is not recognised as one.
    clean = redactor.text(value)
    if len(clean) > MAX_TEXT_CHARS:
        clean = clean[:MAX_TEXT_CHARS] + CUT
    return clean if budget.take(len(clean.encode())) else CUT


def _bytes(budget: _Budget, value: bytes, depth: int) -> JsonValue:
    return f"[{len(value)} bytes]"


def _wide(budget: _Budget, value: int, depth: int) -> JsonValue:
    return str(value) if budget.take(8) else CUT


def _number(budget: _Budget, value: float, depth: int) -> JsonValue:
    if not budget.take(8):
        return CUT
    # NaN and the infinities are no JSON numbers.
    return value if value - value == 0 else str(value)


def _enum_of(descriptor: EnumDescriptor) -> Convert:
    names = descriptor.values_by_number

    def convert(budget: _Budget, value: int, depth: int) -> JsonValue:
        known = names.get(value)
        return (known.name if known else value) if budget.take(16) else CUT

    return convert


def _list_of(single: Convert) -> Convert:
    def convert(budget: _Budget, values: Any, depth: int) -> JsonValue:
        items: list[JsonValue] = []
        for value in values:
            if not budget.take(4):
                items.append(CUT)
                break
            items.append(single(budget, value, depth))
        return items

    return convert


def _map_of(field: FieldDescriptor) -> Convert:
    single = _conversion(field)

    def convert(budget: _Budget, values: Any, depth: int) -> JsonValue:
        items: dict[str, JsonValue] = {}
        for key in sorted(values):
            name = redactor.text(str(key))
            if not budget.take(len(name) + 4):
                items[CUT] = True
                break
            items[name] = REDACTED if is_sensitive_name(name) else single(budget, values[key], depth)
        return items

    return convert


def _well_known(budget: _Budget, value: Message, depth: int) -> JsonValue:
    if value.DESCRIPTOR.full_name == "google.protobuf.Any":
        # Its content could hold marked fields of a type that this process does not know.
        return {"@type": str(getattr(value, "type_url", ""))}
    if not budget.take(value.ByteSize()):
        return CUT
    try:
        return redactor.value(json_format.MessageToDict(value))
    except (json_format.SerializeToJsonError, ValueError, TypeError):
        return CUT  # such as a Timestamp out of range: the contract's rules refuse it, but it was sent
