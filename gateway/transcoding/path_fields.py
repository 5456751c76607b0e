"""The fields that a route's path fills.

A variable names a singular field that has a textual form, through messages; whether it does is found out at the start. Its value joins the
JSON tree of the request, where a body may already hold the same field: the same value is no conflict, whatever its notation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protobuf import DescField, DescFieldValueList, DescFieldValueMap, DescMessage

from gateway.transcoding import fields
from gateway.transcoding.codec import Codec, CodecError
from gateway.transcoding.errors import GatewayError, invalid
from gateway.transcoding.fields import Convert, JsonValue
from gateway.transcoding.schema import SchemaError
from gateway.transcoding.template import Template


@dataclass(frozen=True, slots=True)
class _PathField:
    names: tuple[str, ...]  # proto names, outermost first
    convert: Convert
    integer: bool


class PathFields:
    """Compiled once a route; raises SchemaError when a variable does not fit the message. `where` is the route in messages."""

    def __init__(self, desc: DescMessage, template: Template, codec: Codec, where: str) -> None:
        self._desc = desc
        self._codec = codec
        self._where = where
        self._fields = [self._compile(variable.field_path) for variable in template.variables]
        self.names = frozenset(field.names for field in self._fields)
        """Field paths in proto names."""

    def __len__(self) -> int:
        return len(self._fields)

    def put(self, tree: dict[str, JsonValue], values: Sequence[str]) -> None:
        """Add the values, in template order, to a tree; raises a GatewayError that names the field."""
        for field, text in zip(self._fields, values, strict=True):
            self._put(tree, field, text)

    def _compile(self, field_path: str) -> _PathField:
        desc: DescMessage | None = self._desc
        field: DescField | None = None
        for name in field_path.split("."):
            field = fields.find(desc, name) if desc is not None else None
            if field is None or field.name != name:
                raise SchemaError(f"{self._where}: {self._desc.type_name} has no field {field_path}")
            desc = fields.submessage(field)
        if field is None or isinstance(field.value, DescFieldValueList | DescFieldValueMap):
            raise SchemaError(f"{self._where}: {field_path} is repeated")
        element = fields.element_of(field)
        convert = fields.converter(element)
        if convert is None:
            raise SchemaError(f"{self._where}: {field_path} is a message")
        return _PathField(tuple(field_path.split(".")), convert, fields.is_integer(element))

    def _put(self, tree: dict[str, JsonValue], field: _PathField, text: str) -> None:
        path = ".".join(field.names)
        if field.integer and not fields.is_decimal(text):
            raise invalid(path, "expected an integer in decimal digits")
        desc, node = self._desc, tree
        for name in field.names[:-1]:
            key = present_key(desc, node, name)
            if node.get(key) is None:
                node[key] = {}
            inner: JsonValue = node[key]
            if not isinstance(inner, dict):
                raise invalid(path, "expected a JSON object")
            desc, node = _below(desc, name), inner
        leaf = field.names[-1]
        key = present_key(desc, node, leaf)
        value = field.convert(text)
        if node.get(key) is not None and not self._same(desc, leaf, node[key], value):
            raise invalid(path, "the path and the body give different values", "CONFLICTING_FIELD")
        node[key] = value

    def _same(self, desc: DescMessage, name: str, one: JsonValue, other: JsonValue) -> bool:
        if one == other:
            return True
        codec = self._codec.message(desc)
        try:
            return codec.to_wire({name: one}) == codec.to_wire({name: other})
        except CodecError:
            return False


def present_key(desc: DescMessage, node: dict[str, JsonValue], name: str) -> str:
    """The key under which a body gives this field: its proto name or its JSON name."""
    field = fields.find(desc, name)
    return field.json_name if field is not None and field.json_name in node else name


def _below(desc: DescMessage, name: str) -> DescMessage:
    field = fields.find(desc, name)
    below = fields.submessage(field) if field is not None else None
    if below is None:
        raise GatewayError(13, "INTERNAL", "a bound path lost its message")
    return below
