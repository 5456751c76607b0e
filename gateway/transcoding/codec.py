"""ProtoJSON ⇄ wire bytes, behind an interface of two small protocols.

The implementation is protobuf-py: native, and fast enough to stand in the path of every request. It is young, so nothing
outside this module names it as a codec; another implementation only has to satisfy `Codec` and `MessageCodec`.
"""

import json
from typing import Any, Protocol

from protobuf import (
    DescFieldValueMessage,
    DescMessage,
    Message,
    Registry,
    message_from_json_value,
    message_to_json_value,
)

from gateway.transcoding.fields import JsonValue

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class JsonSyntaxError(ValueError):
    """The text is not JSON; the message says where and never quotes the text."""


class CodecError(ValueError):
    """The value is not a message of the type, or the bytes are not."""


class MessageCodec(Protocol):
    """Both directions for one message type."""

    def to_wire(self, tree: JsonValue, mask: "tuple[str, list[str]] | None" = None) -> bytes:
        """Encode a parsed JSON value; `mask` sets a FieldMask field by name to these paths. Raises CodecError."""

    def to_json(self, wire: bytes) -> bytes:
        """Print a message as UTF-8 JSON. Raises CodecError."""

    def field_to_json(self, wire: bytes, name: str) -> bytes:
        """Print one top-level field of a message; an absent one prints as its type's empty value. Raises CodecError."""


class Codec(Protocol):
    """Makes a MessageCodec for a message type."""

    def message(self, desc: DescMessage) -> MessageCodec: ...


class ProtobufPyCodec:
    """The codec by protobuf-py; `registry` resolves google.protobuf.Any."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def message(self, desc: DescMessage) -> MessageCodec:
        return _ProtobufPyMessage(desc, self._registry)


class _ProtobufPyMessage:
    def __init__(self, desc: DescMessage, registry: Registry) -> None:
        self._type = desc.type
        self._registry = registry
        self._fields = {field.name: field for field in desc.fields}

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
            return self._type.from_binary(wire).to_json(registry=self._registry).encode()
        except (ValueError, TypeError, RecursionError) as error:
            raise CodecError(str(error)) from error

    def field_to_json(self, wire: bytes, name: str) -> bytes:
        field = self._fields[name]
        try:
            message = self._type.from_binary(wire)
            if isinstance(field.value, DescFieldValueMessage) and field.value.oneof is None:
                below: Message | None = getattr(message, field.local_name)
                if below is not None:
                    return below.to_json(registry=self._registry).encode()
            value: Any = message_to_json_value(message, registry=self._registry)
            if field.json_name not in value:
                value = message_to_json_value(self._type(), always_emit_implicit=True)
        except (ValueError, TypeError, RecursionError) as error:
            raise CodecError(str(error)) from error
        return _compact(value.get(field.json_name, {})).encode()


def parse_json(body: bytes) -> JsonValue:
    """Parse strict JSON: UTF-8 without a mark, no duplicate keys, no NaN, nothing behind the value.

    Raises JsonSyntaxError.
    """
    try:
        return _decode(body.decode("utf-8"))
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
