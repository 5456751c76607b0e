"""Streams that go on where they broke: the option `event_stream` of a method, which is found by name.

A browser's EventSource sends the id of the last event it received as Last-Event-ID when it connects again. The option says which field of
each response is that id and which field of the request takes it, so services know nothing of server-sent events. Fields are dotted paths
of proto names through singular messages; of several response fields the first that holds something counts. Empty texts and zeros are
no ids. A field that is not there, or is of a type that cannot be an id, refuses the start.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from protobuf import DescField, DescFieldValueScalar, DescMessage, ScalarType

from gateway.transcoding import fields
from gateway.transcoding.errors import invalid
from gateway.transcoding.schema import Method, Schema, SchemaError

OPTION: Final = "vivesphere.mesh.v1.event_stream"
HEADER: Final = "last-event-id"
MAX_INT64: Final = (1 << 63) - 1

_ID = re.compile(r"[\x21-\x7e]{1,1024}")  # of an opaque token; HTML forbids NUL, CR and LF, headers are ASCII
_TYPES: Final = frozenset({ScalarType.STRING, ScalarType.INT64})


@dataclass(frozen=True, slots=True)
class _Place:
    """A field of one message type, behind any number of singular messages."""

    above: tuple[str, ...]  # local names of the messages on the way
    oneofs: tuple[str | None, ...]
    field: DescField
    text: bool

    def read(self, message: Any) -> str:
        """The id in this message; "" where there is none, or one that cannot be written as an id."""
        for step, oneof in zip(self.above, self.oneofs, strict=True):
            message = _member(message, step, oneof)
            if message is None:
                return ""
        value = getattr(message, self.field.local_name)
        return str(value) if value and _ID.fullmatch(str(value)) else ""


class Resume:
    """How one method's stream is resumed."""

    def __init__(self, method: Method, rule: Any) -> None:
        """Raises SchemaError for an option that does not fit the method."""
        if method.kind != "server_streaming":
            raise SchemaError(
                f"{method.path}: event_stream is for methods that answer one request with a stream"
            )
        self._input, self._output = method.input, method.output
        self._request = _place(method, method.input, rule.request_field)
        if self._request.above:
            raise SchemaError(f"{method.path}: {rule.request_field} is not a field of the request itself")
        self._responses = [_place(method, method.output, path) for path in rule.response_fields]
        if not self._responses:
            raise SchemaError(f"{method.path}: event_stream names no response field")
        if any(place.text != self._request.text for place in self._responses):
            raise SchemaError(f"{method.path}: the fields of event_stream are of different types")

    def fill(self, wire: bytes, last_event_id: str | None) -> bytes:
        """The request with the id in its field; raises GatewayError for an id that is malformed or contradicts the request."""
        if not last_event_id:  # an EventSource that has seen no id, or was told to forget it
            return wire
        value = self._parse(last_event_id)
        message: Any = self._input.type.from_binary(wire)
        name = self._request.field.local_name
        given = getattr(message, name)
        if given == value:
            return wire
        if given:
            raise invalid(self._request.field.name, f"differs from the {HEADER} header", "CONFLICTING_FIELD")
        setattr(message, name, value)
        filled: bytes = message.to_binary()
        return filled

    def id_of(self, wire: bytes) -> str:
        """The id of a response; "" where it has none. Raises ValueError for bytes that are no message."""
        message: Any = self._output.type.from_binary(wire)
        return next((found for place in self._responses if (found := place.read(message))), "")

    def _parse(self, text: str) -> str | int:
        if self._request.text:
            if _ID.fullmatch(text) is None:
                raise invalid(HEADER, "expected up to 1024 visible ASCII characters")
            return text
        if len(text) > 20 or not fields.is_decimal(text) or not 0 <= int(text) <= MAX_INT64:
            raise invalid(HEADER, "expected an integer of 64 bits that is not negative")
        return int(text)


def resumable_streams(schema: Schema) -> dict[str, Resume]:
    """The methods that have the option, by path; raises SchemaError for one that cannot be done."""
    extension = schema.registry.extension(OPTION)
    if extension is None:
        return {}
    rules = ((method, _rule(schema, method, extension)) for method in schema.methods.values())
    return {method.path: Resume(method, rule) for method, rule in rules if rule is not None}


def _rule(schema: Schema, method: Method, extension: Any) -> Any:
    service = schema.registry.service(method.service)
    for desc in service.methods if service is not None else ():
        options = desc.proto.options
        if desc.name == method.name and options is not None and extension.type in options:
            return options[extension.type]
    return None


def _place(method: Method, desc: DescMessage, path: str) -> _Place:
    above: list[DescField] = []
    below: DescMessage | None = desc
    *way, leaf = path.split(".")
    for name in way:
        step = fields.find(below, name) if below is not None else None
        if step is None or fields.submessage(step) is None:
            raise SchemaError(
                f"{method.path}: {desc.type_name} has no singular message on the way to {path!r}"
            )
        above.append(step)
        below = fields.submessage(step)
    field = fields.find(below, leaf) if below is not None else None
    if field is None or field.name != leaf:
        raise SchemaError(f"{method.path}: {desc.type_name} has no field {path!r}")
    if not isinstance(field.value, DescFieldValueScalar) or field.value.scalar not in _TYPES:
        raise SchemaError(
            f"{method.path}: {path} is neither a string nor an int64, so it is no id of an event"
        )
    if fields.oneof_of(field) is not None:
        raise SchemaError(f"{method.path}: {path} is in a oneof, so it is no id of an event")
    return _Place(
        tuple(step.local_name for step in above),
        tuple(fields.oneof_of(step) for step in above),
        field,
        field.value.scalar is ScalarType.STRING,
    )


def _member(message: Any, name: str, oneof: str | None) -> Any:
    """A singular message of a message, None where it is absent; a member of a oneof is there only while it is the one."""
    if oneof is None:
        return getattr(message, name)
    chosen = getattr(message, oneof)
    return chosen.value if chosen is not None and chosen.field == name else None
