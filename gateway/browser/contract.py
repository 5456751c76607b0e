"""The cookie options of a descriptor set: which text fields of a method's messages live in cookies, and which cookies it takes away.

The options are found by name, as `google.api.http` is; a descriptor set without them has no cookies. A field is reached through
singular messages only. Behind a list, a map, a oneof or a message that holds itself there may be any number of values or none in
a known place, and one that stayed in an answer would be a token that scripts can read: such a contract refuses the start.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from protobuf import DescField, DescFieldValueScalar, DescMessage, ScalarType

from gateway.transcoding import fields
from gateway.transcoding.schema import Method, Schema, SchemaError

FIELD_OPTION: Final = "vivesphere.mesh.v1.cookie"
METHOD_OPTION: Final = "vivesphere.mesh.v1.clears_cookies"
MAX_AGE_SECONDS: Final = 34_560_000  # 400 days, the most that browsers accept (RFC 6265bis section 5.5)

_NAME = re.compile(r"[a-z][a-z-]{0,63}")


@dataclass(frozen=True, slots=True)
class CookieField:
    """One place in one message type whose text lives in the cookie `name`. `path` is made of proto names."""

    path: str
    name: str
    max_age_seconds: int
    above: tuple[DescField, ...]  # the messages on the way to the field, outermost first
    field: DescField

    def read(self, message: Any) -> str:
        """The text in this message; "" where it, or a message on the way, is absent."""
        for step in self.above:
            message = getattr(message, step.local_name)
            if message is None:
                return ""
        return str(getattr(message, self.field.local_name))

    def write(self, message: Any, text: str) -> None:
        """Put a text there; makes the messages on the way."""
        for step in self.above:
            desc = fields.submessage(step)
            if desc is not None and getattr(message, step.local_name) is None:
                setattr(message, step.local_name, desc.type())
            message = getattr(message, step.local_name)
        setattr(message, self.field.local_name, text)

    def clear(self, message: Any) -> None:
        """Make the field absent where `read` found a text."""
        for step in self.above:
            message = getattr(message, step.local_name)
        message.clear_field(self.field.name)


@dataclass(frozen=True, slots=True)
class CookieUse:
    """What one method has to do with cookies."""

    request: tuple[CookieField, ...]
    response: tuple[CookieField, ...]
    clears: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.request or self.response or self.clears)


class CookieContract:
    """Reads the options of one descriptor set."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._field_option = schema.registry.extension(FIELD_OPTION)
        self._method_option = schema.registry.extension(METHOD_OPTION)
        self._holding: dict[DescMessage, bool] = {}

    def use_of(self, method: Method) -> CookieUse:
        """What a method has to do with cookies; raises SchemaError for what cannot be done."""
        return CookieUse(
            self._places(method, method.input), self._places(method, method.output), self._clears(method)
        )

    def _clears(self, method: Method) -> tuple[str, ...]:
        service = self._schema.registry.service(method.service)
        for desc in service.methods if service is not None else ():
            if desc.name == method.name:
                return tuple(_option(desc.proto.options, self._method_option) or ())
        return ()

    def _places(self, method: Method, desc: DescMessage) -> tuple[CookieField, ...]:
        try:
            found = tuple(self._find(desc, (), (desc,)))
        except SchemaError as error:
            raise SchemaError(f"{method.path}: {error}") from None
        names = [place.name for place in found]
        if len(set(names)) != len(names):
            raise SchemaError(f"{method.path}: {desc.type_name} has two fields in one cookie")
        return found

    def _find(
        self, desc: DescMessage, above: tuple[DescField, ...], types: tuple[DescMessage, ...]
    ) -> Iterator[CookieField]:
        for field in desc.fields:
            path = ".".join(step.name for step in (*above, field))
            rule = _option(field.proto.options, self._field_option)
            below = fields.element_of(field)
            if rule is not None:
                yield self._place(path, rule, above, field)
            elif isinstance(below, DescMessage) and self._holds(below):
                if fields.submessage(field) is None or fields.oneof_of(field) is not None or below in types:
                    raise SchemaError(f"{path} holds a cookie in a list, map, oneof or itself")
                yield from self._find(below, (*above, field), (*types, below))

    def _place(self, path: str, rule: Any, above: tuple[DescField, ...], field: DescField) -> CookieField:
        if not isinstance(field.value, DescFieldValueScalar) or field.value.scalar is not ScalarType.STRING:
            raise SchemaError(f"{path} is no text, so it cannot be a cookie")
        if fields.oneof_of(field) is not None:
            raise SchemaError(f"{path} is in a oneof, so it cannot be a cookie")
        if _NAME.fullmatch(rule.name) is None:
            raise SchemaError(f"{path}: the name of its cookie is not 1 to 64 lower-case letters and dashes")
        if not 1 <= rule.max_age_seconds <= MAX_AGE_SECONDS:
            raise SchemaError(f"{path}: the age of its cookie is not 1 to {MAX_AGE_SECONDS} seconds")
        return CookieField(path, rule.name, rule.max_age_seconds, above, field)

    def _holds(self, desc: DescMessage) -> bool:
        """Whether a message of this type can hold a cookie's field at any depth."""
        known = self._holding.get(desc)
        if known is None:
            known = self._holding[desc] = any(self._marked(one) for one in reachable(desc))
        return known

    def _marked(self, desc: DescMessage) -> bool:
        return any(self.is_cookie(field) for field in desc.fields)

    def is_cookie(self, field: DescField) -> bool:
        """Whether the field's text lives in a cookie."""
        return _option(field.proto.options, self._field_option) is not None


def reachable(desc: DescMessage) -> set[DescMessage]:
    """A message type and all types of its fields, theirs, and so on."""
    found, left = {desc}, [desc]
    while left:
        below = {e for field in left.pop().fields if isinstance(e := fields.element_of(field), DescMessage)}
        left += below - found
        found |= below
    return found


def _option(options: Any, extension: Any) -> Any:
    """The value of an option; None where it, or the whole extension, is missing."""
    return (
        options[extension.type]
        if options is not None and extension is not None and extension.type in options
        else None
    )
