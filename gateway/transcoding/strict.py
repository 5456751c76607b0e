"""What the codec lets pass and a strict front must not: unknown fields with their full path, a field given twice under its
two names, two members of one oneof, numbers in strings that JSON would not take bare (`1_000`, `+1`, `007`, other scripts'
digits), and field masks with an empty path.

The walk follows the descriptors through the parsed JSON, into google.protobuf.Any too where its type is known; it makes nothing
when all is well. Duplicate keys of the same name are the JSON parser's to refuse (`codec.parse_json`), as is too deep nesting.
"""

import re
from functools import cache

from protobuf import DescField, DescFieldValueList, DescFieldValueMap, DescMessage, Registry

from gateway.transcoding import fields
from gateway.transcoding.errors import Violation, invalid_all
from gateway.transcoding.fields import JsonValue

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")  # RFC 8259 section 6
_WORDS = frozenset(
    {"NaN", "Infinity", "-Infinity"}
)  # ProtoJSON's, for floats; the codec refuses them for integers
_PATH = r"[!-+\-/-~]+(?:\.[!-+\-/-~]+)*"  # visible ASCII, as field names are
_MASK = re.compile(rf"(?:{_PATH}(?:,{_PATH})*)?")
MAX_VIOLATIONS = 20  # enough to mend a form in one go, and a bound on the answer


class _Entry:
    """How to check one key of an object."""

    __slots__ = (
        "any",
        "checked",
        "expected",
        "mask",
        "message",
        "name",
        "number",
        "oneof",
        "repeated",
        "watched",
    )

    def __init__(self, field: DescField) -> None:
        self.name = field.name
        self.oneof = fields.oneof_of(field)
        element = fields.element_of(field)
        self.message = (
            element if isinstance(element, DescMessage) and not fields.has_special_json(element) else None
        )
        special = element.type_name if isinstance(element, DescMessage) else ""
        self.any = special == fields.ANY
        self.mask = special == fields.FIELD_MASK
        self.number = fields.is_number(element)
        self.expected = (
            "an integer in decimal digits" if fields.is_integer(element) else fields.expected(element)
        )
        self.checked = self.number or self.any or self.mask or self.message is not None
        self.repeated = isinstance(field.value, DescFieldValueList | DescFieldValueMap)
        self.watched = self.oneof is not None or field.json_name != field.name


@cache  # one entry a message type of the descriptor set
def _entries(desc: DescMessage) -> dict[str, _Entry]:
    entries = {}
    for field in desc.fields:
        entries[field.name] = entries[field.json_name] = _Entry(field)
    return entries


def check(desc: DescMessage, tree: JsonValue, registry: Registry | None = None, prefix: str = "") -> None:
    """Raise a GatewayError that names the fields when `tree` breaks one of the rules above.

    `registry` resolves google.protobuf.Any; without it they are left to the codec.
    """
    if sloppy := examine(desc, tree, registry, prefix):
        raise invalid_all(sloppy)


def examine(
    desc: DescMessage, tree: JsonValue, registry: Registry | None = None, prefix: str = ""
) -> list[Violation]:
    """As `check`, but return the values in sloppy notation, for who can say what else is wrong."""
    found = _Findings(registry)
    _object(desc, tree, prefix, found)
    if found.unknown:
        raise invalid_all(found.unknown[:MAX_VIOLATIONS], "UNKNOWN_FIELD")
    if found.twice:
        raise invalid_all(found.twice[:MAX_VIOLATIONS], "CONFLICTING_FIELD")
    return found.invalid[:MAX_VIOLATIONS] if found.invalid else found.invalid


class _Findings:
    __slots__ = ("invalid", "registry", "twice", "unknown")

    def __init__(self, registry: Registry | None) -> None:
        self.registry = registry
        self.unknown: list[Violation] = []
        self.twice: list[Violation] = []
        self.invalid: list[Violation] = []


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
        if entry.checked:
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
    elif entry.any:
        _any(value, path, found)
    elif isinstance(value, str):
        form = _MASK if entry.mask else _NUMBER
        if form.fullmatch(value) is None and not (entry.number and value in _WORDS):
            found.invalid.append(Violation(path, f"expected {entry.expected}"))


def _any(value: JsonValue, path: str, found: _Findings) -> None:
    """A google.protobuf.Any of a message with ordinary JSON; the codec judges its type."""
    kind = value.get("@type") if isinstance(value, dict) else None
    if found.registry is None or not isinstance(kind, str):
        return
    desc = found.registry.message(kind.rpartition("/")[2])
    if desc is not None:
        _object(desc, {key: one for key, one in value.items() if key != "@type"}, path + ".", found)
