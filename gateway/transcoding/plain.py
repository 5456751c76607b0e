"""The message of a request that is nothing but its path: no query, no body, and only text in the variables.

Nearly all reads of one resource are. Such a message is a handful of length-delimited fields on the wire (protobuf's encoding
guide), so it is written down directly instead of through JSON; the tests hold it against the codec.
"""

from collections.abc import Sequence
from typing import Final

from protobuf import DescField, DescFieldValueScalar, DescMessage, ScalarType

from gateway.transcoding import fields
from gateway.transcoding.template import Template

_LENGTH_DELIMITED: Final = 2


class Plain:
    """Writes the messages of one route. `tags` are the fields' tags, `order` the variables in the order of field numbers."""

    __slots__ = ("_order", "_tags")

    def __init__(self, tags: Sequence[bytes], order: Sequence[int]) -> None:
        self._tags = tags
        self._order = order

    def wire(self, values: Sequence[str]) -> bytes:
        """The message; an empty text is its field's default, which is not written."""
        made = b""
        for index, tag in zip(self._order, self._tags, strict=True):
            data = values[index].encode()
            if data:
                made += tag + _varint(len(data)) + data
        return made


def plain_of(desc: DescMessage, template: Template) -> Plain | None:
    """None for a route whose variables are not all top-level text fields without presence."""
    numbers: list[tuple[int, int]] = []
    for index, variable in enumerate(template.variables):
        field = fields.find(desc, variable.field_path)
        if field is None or field.name != variable.field_path or not _is_text(field):
            return None
        numbers.append((field.number, index))
    numbers.sort()
    tags = [_varint(number << 3 | _LENGTH_DELIMITED) for number, _ in numbers]
    return Plain(tags, [index for _, index in numbers])


def _is_text(field: DescField) -> bool:
    """Whether this is a string that is absent where it is empty."""
    is_scalar = isinstance(field.value, DescFieldValueScalar) and field.value.scalar is ScalarType.STRING
    return is_scalar and field.presence.name == "IMPLICIT"


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)
