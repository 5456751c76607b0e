"""ProtoJSON ⇄ wire bytes, behind an interface of two small protocols.

The implementation is protobuf-py: native, and fast enough to stand in the path of every request. It is young, so nothing
outside this module names it as a codec; `google_codec` is a second one by Google's own library, and another only has to satisfy
`Codec` and `MessageCodec`. A field mask that ProtoJSON has no form for is printed as it came (`odd_masks`), so that one
service's odd path does not cost its whole answer.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Protocol

from protobuf import (
    DescField,
    DescFieldValueList,
    DescFieldValueMap,
    DescFieldValueMessage,
    DescMessage,
    Message,
    Registry,
    message_from_json_value,
    message_to_json_value,
)

from gateway.transcoding import fields, odd_masks
from gateway.transcoding.fields import JsonValue

compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class JsonSyntaxError(ValueError):
    """The text is not JSON; the message says where and never quotes the text."""


class CodecError(ValueError):
    """The value is not a message of the type, or the bytes are not."""


@dataclass(frozen=True, slots=True)
class JsonStyle:
    """Choices that ProtoJSON leaves to a printer; the default is its own default."""

    proto_names: bool = False
    """Original field names instead of lowerCamelCase."""
    defaults: bool = False
    """Fields without presence are printed also when they hold their default value."""


class MessageCodec(Protocol):
    """Both directions for one message type."""

    def to_wire(self, tree: JsonValue, mask: "tuple[str, list[str]] | None" = None) -> bytes:
        """Encode a parsed JSON value; `mask` sets a FieldMask field by name to these paths. Raises CodecError."""

    def to_json(self, wire: bytes) -> bytes:
        """Print a message as UTF-8 JSON. Raises CodecError."""

    def field_to_json(self, wire: bytes, name: str) -> bytes:
        """Print one top-level field of a message; an absent one as `absent` says. Raises CodecError."""


class Codec(Protocol):
    """Makes a MessageCodec for a message type."""

    def message(self, desc: DescMessage) -> MessageCodec: ...


class ProtobufPyCodec:
    """The codec by protobuf-py; `registry` resolves google.protobuf.Any."""

    def __init__(self, registry: Registry, style: JsonStyle | None = None) -> None:
        self._registry = registry
        self._style = style or JsonStyle()

    def message(self, desc: DescMessage) -> MessageCodec:
        return _ProtobufPyMessage(desc, self._registry, self._style)


class _ProtobufPyMessage:
    def __init__(self, desc: DescMessage, registry: Registry, style: JsonStyle) -> None:
        self._desc = desc
        self._type = desc.type
        self._registry = registry
        self._fields = {field.name: field for field in desc.fields}
        self._style = style
        self._plain = style == JsonStyle()

    def to_wire(self, tree: JsonValue, mask: tuple[str, list[str]] | None = None) -> bytes:
        try:
            message: Any = message_from_json_value(self._type, tree, registry=self._registry)
            if mask is not None:
                field = self._fields[mask[0]]
                setattr(message, field.local_name, field.value.message.type(paths=mask[1]))  # type: ignore[union-attr]  # the caller names a FieldMask field
            wire: bytes = message.to_binary()
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise CodecError(str(error)) from error
        return wire

    def to_json(self, wire: bytes) -> bytes:
        try:
            if self._plain:
                return self._type.from_binary(wire).to_json(registry=self._registry).encode()
            return compact(self._value(self._type.from_binary(wire))).encode()
        except (ValueError, TypeError, RecursionError) as error:
            return self._oddly(wire, error)

    def field_to_json(self, wire: bytes, name: str) -> bytes:
        field = self._fields[name]
        try:
            message = self._type.from_binary(wire)
            if self._plain and isinstance(field.value, DescFieldValueMessage) and field.value.oneof is None:
                below: Message | None = getattr(message, field.local_name)
                if below is not None:
                    return below.to_json(registry=self._registry).encode()
            value = self._value(message)
        except (ValueError, TypeError, RecursionError) as error:
            value = json.loads(self._oddly(wire, error))
        key = field.name if self._style.proto_names else field.json_name
        if key in value:
            return compact(value[key]).encode()
        return compact(absent(field, message_to_json_value(self._type(), always_emit_implicit=True))).encode()

    def _value(self, message: Message) -> Any:
        return message_to_json_value(
            message,
            registry=self._registry,
            use_proto_field_name=self._style.proto_names,
            always_emit_implicit=self._style.defaults,
        )

    def _oddly(self, wire: bytes, error: Exception) -> bytes:
        """Print a message again that could not be printed, its field masks as they are; raises CodecError for `error`."""
        try:
            message = self._type.from_binary(wire)
            taken = odd_masks.take(self._desc, message)
            if not taken:
                raise CodecError(str(error)) from error
            value = odd_masks.put(self._value(message), taken, proto_names=self._style.proto_names)
        except (ValueError, TypeError, RecursionError) as again:
            raise CodecError(str(again)) from error
        return compact(value).encode()


def absent(field: DescField, defaults: JsonValue) -> JsonValue:
    """What an absent field prints as by itself: its type's empty value, {} for a message, null where absence is a value.

    `defaults` is an empty message of the field's type printed with defaults.
    """
    value = field.value
    if isinstance(value, DescFieldValueList | DescFieldValueMap):
        return defaults.get(field.json_name)
    if isinstance(value, DescFieldValueMessage):
        return None if fields.has_special_json(value.message) else {}
    return defaults.get(field.json_name)  # none for `optional` and members of a oneof


def parse_json(body: bytes) -> JsonValue:
    """Parse strict JSON: UTF-8 without a mark, no duplicate keys, no NaN, no lone surrogate, nothing behind the value.

    Raises JsonSyntaxError.
    """
    try:
        value = _decode(body.decode("utf-8"))
        if _SURROGATE.search(body):
            compact(value).encode()
        return value
    except UnicodeEncodeError:
        raise JsonSyntaxError("half of a surrogate pair is no character") from None
    except UnicodeDecodeError as error:
        raise JsonSyntaxError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise JsonSyntaxError(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise JsonSyntaxError("nested too deeply") from None
    except _Refused as error:
        raise JsonSyntaxError(str(error)) from None
    except ValueError:  # int() of a number with thousands of digits
        raise JsonSyntaxError("a number is too long") from None


class _Refused(Exception):
    """Raised inside the parser's hooks."""


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for index, key in enumerate(keys) if key in keys[:index])
        raise _Refused(f"the key {json.dumps(twice[:200])} is given twice")
    return made


def _constant(name: str) -> JsonValue:
    raise _Refused(f"{name} is not JSON")


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant).decode
