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
_ONE_BYTE: Final = tuple(bytes((length,)) for length in range(128))


class Plain:
    """Writes the messages of one route. `parts` are the variables and their fields' tags in the order of field numbers."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[tuple[int, bytes]]) -> None:
        self._parts = parts

    def wire(self, values: Sequence[str]) -> bytes:
        """The message; an empty text is its field's default, which is not written."""
        made = b""
        for index, tag in self._parts:
            data = values[index].encode()
            if data:
                made += tag + (_ONE_BYTE[len(data)] if len(data) < 128 else _varint(len(data))) + data
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
    return Plain([(index, _varint(number << 3 | _LENGTH_DELIMITED)) for number, index in numbers])


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
