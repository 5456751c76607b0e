"""What google.protobuf.json_format takes and ProtoJSON does not, refused before the library sees it.

Only forms are checked here; ranges, unknown names and types of containers are the library's own to refuse. Sources: the ProtoJSON
specification (https://protobuf.dev/programming-guides/json/) and the cases that the library's own conformance list admits to fail.
"""

import math
import re
from collections.abc import Callable, Iterable

from protobuf import DescEnum, DescField, DescFieldValueList, DescFieldValueMap, DescMessage, ScalarType

from gateway.transcoding import fields
from gateway.transcoding.fields import Element, JsonValue

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
# Either alphabet of RFC 4648; padding may be left out, and be no longer than it has to be.
_BASE64 = re.compile(
    "|".join(
        f"(?:{one}{{4}})*(?:{one}{{2}}={{0,2}}|{one}{{3}}=?)?" for one in ("[A-Za-z0-9+/]", "[A-Za-z0-9_-]")
    )
)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_DURATION = re.compile(r"-?\d{1,12}(?:\.\d{1,9})?s", re.ASCII)
_INT_KEY = re.compile(r"0|-?[1-9][0-9]*")
_WORDS = frozenset({"NaN", "Infinity", "-Infinity"})
_INT32 = range(-(2**31), 2**31)


def check(element: Element, value: JsonValue) -> None:
    """Raise ValueError when a value has a form that is not its type's."""
    if isinstance(element, DescEnum):
        _enum(element, value)
    elif isinstance(element, ScalarType):
        _scalar(element, value)
    elif element.type_name in _FORMS:
        _FORMS[element.type_name](value)
    elif fields.is_wrapper(element):
        _scalar(fields.wrapped(element), value)
    elif not fields.has_special_json(element):
        _message(element, value)


def _message(desc: DescMessage, tree: JsonValue) -> None:
    _of(tree, dict)
    for key, value in tree.items():
        field = fields.find(desc, key)
        if field is not None and value is not None:
            _field(field, value)


def _field(field: DescField, value: JsonValue) -> None:
    element = fields.element_of(field)
    values: Iterable[JsonValue] = (value,)
    if isinstance(field.value, DescFieldValueList):
        values = _of(value, list)
    elif isinstance(field.value, DescFieldValueMap):
        values = _of(value, dict).values()
        for key in value:
            _map_key(field.value.key, key)
    for one in values:
        check(element, one)


def _of(value: JsonValue, kind: type) -> JsonValue:
    if not isinstance(value, kind):
        raise ValueError(f"expected a {kind.__name__}")  # noqa: TRY004 - one kind of refusal for the caller
    return value


def _map_key(kind: ScalarType, key: str) -> None:
    if kind is ScalarType.BOOL:
        _need(key in ("true", "false"))
    elif kind is not ScalarType.STRING:
        _need(_INT_KEY.fullmatch(key) is not None)


def _enum(enum: DescEnum, value: JsonValue) -> None:
    if enum.type_name == "google.protobuf.NullValue" and value is None:
        return
    if isinstance(value, str):
        _need(any(value == one.name for one in enum.values))
    else:
        _need(isinstance(value, int) and not isinstance(value, bool) and value in _INT32)


def _scalar(kind: ScalarType, value: JsonValue) -> None:
    if kind is ScalarType.BOOL:
        _need(isinstance(value, bool))
    elif kind is ScalarType.STRING:
        _need(isinstance(value, str))
    elif kind is ScalarType.BYTES:
        _need(isinstance(value, str) and _BASE64.fullmatch(value) is not None)
    elif isinstance(value, str):
        words = kind in (ScalarType.FLOAT, ScalarType.DOUBLE) and value in _WORDS
        _need(words or (_NUMBER.fullmatch(value) is not None and math.isfinite(float(value))))
    else:
        _need(isinstance(value, int | float) and not isinstance(value, bool))


def _time(value: JsonValue) -> None:
    _need(isinstance(value, str) and _TIME.fullmatch(value) is not None)


def _duration(value: JsonValue) -> None:
    _need(isinstance(value, str) and _DURATION.fullmatch(value) is not None)


def _mask(value: JsonValue) -> None:
    _need(isinstance(value, str) and "_" not in value)


def _need(holds: bool) -> None:
    if not holds:
        raise ValueError("not a form of the type")


_FORMS: dict[str, Callable[[JsonValue], None]] = {
    "google.protobuf.Timestamp": _time,
    "google.protobuf.Duration": _duration,
    fields.FIELD_MASK: _mask,
}
