"""The codec by Google's own library, google.protobuf.json_format.

A second implementation of `codec.Codec`: what to fall back on should protobuf-py fail, and what it is held against in tests. It is pure
Python above upb, about ten times slower. The library takes more than ProtoJSON allows (true for a number, "1" for an enum, times of
any width, base64 with rubbish in it), so `google_guard` looks at every value first; both codecs take the same.
"""

import json
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from protobuf import DescMessage

from gateway.transcoding import fields, google_guard, odd_masks
from gateway.transcoding.codec import CodecError, JsonStyle, MessageCodec, absent, compact
from gateway.transcoding.depth import MAX_DEPTH
from gateway.transcoding.fields import JsonValue

# What the library raises for values and bytes that are wrong; its own Error is none of Python's families.
_FAILURES = (
    json_format.Error,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    KeyError,
    AttributeError,
)


class GoogleCodec:
    """The codec by google.protobuf.json_format, for the types of one FileDescriptorSet."""

    def __init__(self, raw: bytes, style: JsonStyle | None = None) -> None:
        self._pool = DescriptorPool()
        for file in FileDescriptorSet.FromString(raw).file:  # protoc writes dependencies first
            self._pool.AddSerializedFile(file.SerializeToString())
        self._style = style or JsonStyle()

    def message(self, desc: DescMessage) -> MessageCodec:
        return _GoogleMessage(desc, self._pool, self._style)


class _GoogleMessage:
    def __init__(self, desc: DescMessage, pool: DescriptorPool, style: JsonStyle) -> None:
        self._desc = desc
        self._class: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName(desc.type_name))
        self._pool = pool
        self._style = style

    def to_wire(self, tree: JsonValue, mask: tuple[str, list[str]] | None = None) -> bytes:
        try:
            google_guard.check(self._desc, tree)
            message: Any = self._class()
            json_format.ParseDict(tree, message, descriptor_pool=self._pool, max_recursion_depth=MAX_DEPTH)
            if mask is not None:
                getattr(message, mask[0]).paths[:] = mask[1]
            wire: bytes = message.SerializeToString()
        except _FAILURES as error:
            raise CodecError(str(error)) from error
        return wire

    def to_json(self, wire: bytes) -> bytes:
        return compact(self._value(wire)).encode()

    def field_to_json(self, wire: bytes, name: str) -> bytes:
        value, field = self._value(wire), fields.find(self._desc, name)
        if field is None:
            raise CodecError("no such field")
        key = field.name if self._style.proto_names else field.json_name
        shown = value[key] if key in value else absent(field, self._defaults())
        return compact(shown).encode()

    def _value(self, wire: bytes) -> Any:
        try:
            message: Any = self._class.FromString(wire)
        except Exception as error:  # upb's DecodeError, and UnicodeDecodeError
            raise CodecError(str(error)) from error
        taken: odd_masks.Taken = []
        try:
            _take_masks(message, (), taken)
            return odd_masks.put(self._print(message), taken, proto_names=self._style.proto_names)
        except _FAILURES as error:
            raise CodecError(str(error)) from error

    def _print(self, message: Any) -> Any:
        return json_format.MessageToDict(
            message,
            preserving_proto_field_name=self._style.proto_names,
            always_print_fields_with_no_presence=self._style.defaults,
            descriptor_pool=self._pool,
        )

    def _defaults(self) -> JsonValue:
        printed = json_format.MessageToJson(
            self._class(), always_print_fields_with_no_presence=True, descriptor_pool=self._pool
        )
        return json.loads(printed)


def _take_masks(message: Any, where: tuple[odd_masks.Step, ...], taken: odd_masks.Taken) -> None:
    """As odd_masks.take, for a message of Google's library."""
    kind = message.DESCRIPTOR.full_name
    if kind == fields.FIELD_MASK:
        taken.append((where, odd_masks.text_of(list(message.paths))))
        del message.paths[:]
        return
    if kind.startswith("google.protobuf."):
        return
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        here = (*where, (field.json_name, field.name))
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key, one in value.items():
                    name = str(key).lower() if isinstance(key, bool) else str(key)
                    _take_masks(one, (*here, name), taken)
        elif field.is_repeated:
            for index, one in enumerate(value):
                _take_masks(one, (*here, index), taken)
        else:
            _take_masks(value, here, taken)
