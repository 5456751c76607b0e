"""What the codec lets pass and a strict front must not: unknown fields with their full path, a field given twice under its
two names, two members of one oneof, and integers in sloppy notation (`1_000`, other scripts' digits, a plus sign).

The walk follows the descriptors through the parsed JSON; it makes nothing when all is well. Duplicate keys of the same name
are the JSON parser's to refuse (`codec.parse_json`).
"""

from functools import cache

from protobuf import DescField, DescFieldValueList, DescFieldValueMap, DescMessage

from gateway.transcoding import fields
from gateway.transcoding.errors import GatewayError, Violation, invalid_all
from gateway.transcoding.fields import JsonValue

MAX_VIOLATIONS = 20  # enough to mend a form in one go, and a bound on the answer


class _Entry:
    """How to check one key of an object."""

    __slots__ = ("integer", "message", "name", "oneof", "repeated", "watched")

    def __init__(self, field: DescField) -> None:
        self.name = field.name
        self.oneof = fields.oneof_of(field)
        element = fields.element_of(field)
        self.message = (
            element if isinstance(element, DescMessage) and not fields.has_special_json(element) else None
        )
        self.integer = fields.is_integer(element)
        self.repeated = isinstance(field.value, DescFieldValueList | DescFieldValueMap)
        self.watched = self.oneof is not None or field.json_name != field.name


@cache  # one entry a message type of the descriptor set
def _entries(desc: DescMessage) -> dict[str, _Entry]:
    entries = {}
    for field in desc.fields:
        entries[field.name] = entries[field.json_name] = _Entry(field)
    return entries


def check(desc: DescMessage, tree: JsonValue, prefix: str = "") -> None:
    """Raise a GatewayError that names the fields when `tree` breaks one of the rules above."""
    found = _Findings()
    _object(desc, tree, prefix, found)
    if found.unknown:
        raise found.error(found.unknown, "UNKNOWN_FIELD")
    if found.twice:
        raise found.error(found.twice, "CONFLICTING_FIELD")
    if found.invalid:
        raise found.error(found.invalid, "INVALID_FIELD")


class _Findings:
    __slots__ = ("invalid", "twice", "unknown")

    def __init__(self) -> None:
        self.unknown: list[Violation] = []
        self.twice: list[Violation] = []
        self.invalid: list[Violation] = []

    @staticmethod
    def error(violations: list[Violation], reason: str) -> GatewayError:
        return invalid_all(violations[:MAX_VIOLATIONS], reason)


def _object(desc: DescMessage, tree: JsonValue, prefix: str, found: _Findings) -> None:
    if not isinstance(tree, dict) or fields.has_special_json(desc):
        return
    entries = _entries(desc)
    seen: set[str] | None = None
    for key, value in tree.items():
        entry = entries.get(key)
        if entry is None:
            found.unknown.append(Violation(prefix + key[:200], f"{desc.type_name} has no such field"))
            continue
        if entry.watched and value is not None:
            seen = set() if seen is None else seen
            _once(entry, prefix, seen, found)
        if entry.integer or entry.message is not None:
            _value(entry, value, prefix, found)


def _once(entry: _Entry, prefix: str, seen: set[str], found: _Findings) -> None:
    if entry.name in seen:
        found.twice.append(Violation(prefix + entry.name, "is given twice"))
    elif entry.oneof is not None:
        if "oneof " + entry.oneof in seen:
            found.twice.append(
                Violation(prefix + entry.name, f"another member of {entry.oneof} is given as well")
            )
        seen.add("oneof " + entry.oneof)
    seen.add(entry.name)


def _value(entry: _Entry, value: JsonValue, prefix: str, found: _Findings) -> None:
    path = prefix + entry.name
    if not entry.repeated:
        _single(entry, value, path, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _single(entry, item, f"{path}[{index}]", found)
    elif isinstance(value, dict):
        for key, item in value.items():
            _single(entry, item, f"{path}[{key[:200]}]", found)


def _single(entry: _Entry, value: JsonValue, path: str, found: _Findings) -> None:
    if entry.message is not None:
        _object(entry.message, value, path + ".", found)
    elif isinstance(value, str) and ("_" in value or "+" in value[:1] or not value.isascii()):
        found.invalid.append(Violation(path, "expected an integer in decimal digits"))
