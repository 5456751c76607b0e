"""Replaces secrets in texts and in nested values.

A text goes through a cheap filter first (literals and long random runs, see `mesh.redaction.shapes`): a clean line costs about half a
microsecond. Short texts that come again and again, as names and log messages do, are remembered if they were clean. A field whose name says that it is secret loses its value whatever that looks like. Redacting twice changes nothing.
What is not plain data becomes text first, except protobuf messages: their text would show fields marked `debug_redact`, so only
their type is named.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Final

from google.protobuf.message import Message

from mesh.ids import is_uuid
from mesh.redaction.patterns import Patterns
from mesh.redaction.shapes import (
    BARE_PATTERN,
    LONG_RUN,
    NAMED,
    NAMED_PATTERN,
    REDACTED,
    may_be_bare,
    may_be_named,
)

MAX_DEPTH: Final = 8
MAX_ITEMS: Final = 200
MAX_TEXT_CHARS: Final = 8 * 1024
MAX_EXACT: Final = 2**53
MAX_BITS: Final = 1024
CUT: Final = "[cut]"
REMEMBERED: Final = 2_000
REMEMBERED_CHARS: Final = 64

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

_VALUE_GROUPS: Final = tuple(sorted(name for name in NAMED_PATTERN.groupindex if re.fullmatch(r"v\d+", name)))
# Names that speak of a secret without being one: `password_file`, `token_type`, `secret_version`, `tokens`: 5 and the like.
_HARMLESS_END: Final = re.compile(
    r"(?:file|path|type|kind|count|versions?|names?|length|ttl|seconds|minutes|time|expiry|expires?(?:_?in|_?at)?|policy|url|uri"
    r"|endpoint|required|enabled|present|set|state|status|bytes|limit|(?<!secret_)(?<!secret)(?<!key_)id)\Z",
    re.IGNORECASE,
)
_NAME: Final = re.compile(
    NAMED + r"\Z|(?:proxy-?)?authorization\Z|(?:set[_-]?)?cookies?\Z|x-vault-token\Z", re.IGNORECASE
)
_HARMLESS_VALUE: Final = re.compile(r"(?:[0-9]{1,9}|true|false|none|null|\*+|)\Z", re.IGNORECASE)


def is_sensitive_name(name: str) -> bool:
    """Whether a field of this name holds a secret, in any of the usual spellings (`access_token`, `X-Api-Key`, `clientSecret`)."""
    lowered = name.lower()
    if not may_be_named(lowered):
        return False
    match = _NAME.search(name)
    return match is not None and _HARMLESS_END.search(name) is None


class Redactor:
    """Knows the patterns of people besides the shapes, and remembers clean texts; one is enough. Any thread."""

    def __init__(self) -> None:
        self._patterns: Patterns | None = None
        self._clean: set[str] = set()
        self._names: dict[str, bool] = {}

    def use(self, patterns: Sequence[str]) -> None:
        """Replace what matches one of these too, from now on. Raises PatternError; then nothing has changed."""
        self._patterns = Patterns(patterns) if patterns else None
        self._clean = set()

    def constant(self, text: str) -> str:
        """As `text`, faster for a text that was seen before."""
        clean = self._clean  # this one, also if other patterns come meanwhile
        if text in clean:
            return text
        result = self.text(text)
        if result == text and len(text) <= REMEMBERED_CHARS:
            if len(clean) >= REMEMBERED:
                clean.clear()
            clean.add(text)
        return result

    def text(self, text: str) -> str:
        """`text` with every secret replaced by "[REDACTED]"."""
        if self._patterns is not None:
            text = self._patterns.replace(text)
        elif is_uuid(text):  # most fields are, and no shape is
            return text
        lowered = text.lower()
        if may_be_named(lowered):
            text = NAMED_PATTERN.sub(self._replace, text)
        if LONG_RUN.search(text) is not None or may_be_bare(lowered):
            return BARE_PATTERN.sub(REDACTED, text)
        return text

    def fields(self, fields: Mapping[str, object]) -> dict[str, JsonValue]:
        """A mapping as plain JSON data without secrets."""
        return self._mapping(fields, 0)

    def value(self, value: object, name: str = "") -> JsonValue:
        """Any value as plain JSON data without secrets; `name` is the field it stands in."""
        return self._value(value, name, 0)

    def _mapping(
        self, fields: Mapping[object, object] | Mapping[str, object], depth: int
    ) -> dict[str, JsonValue]:
        result: dict[str, JsonValue] = {}
        # {"name": "Authorization", "value": "…"}
        named = _plain_name(fields.get("name")) or _plain_name(fields.get("key")) if "value" in fields else ""
        for key, value in fields.items():
            if len(result) == MAX_ITEMS:
                result[CUT] = len(fields) - MAX_ITEMS
                break
            name = key if isinstance(key, str) else str(self._value(key, "", MAX_DEPTH))
            if self._hides(name, value) or (named and name == "value" and self._hides(named, value)):
                result[self.constant(name)] = REDACTED
            elif type(value) is str:
                result[self.constant(name)] = self.text(
                    value if len(value) <= MAX_TEXT_CHARS else clip(value)
                )
            else:
                result[self.constant(name)] = self._value(value, "", depth + 1)
        return result

    def _hides(self, name: str, value: object) -> bool:
        """Whether a field of this name loses this value: `tokens`: 5 is a number of them."""
        sensitive = self._names.get(name)
        if sensitive is None:
            sensitive = is_sensitive_name(name)
            if len(name) <= REMEMBERED_CHARS:
                if len(self._names) >= REMEMBERED:
                    self._names.clear()
                self._names[name] = sensitive
        if not sensitive or value is None or isinstance(value, bool):
            return False
        return not (isinstance(value, int) and name.endswith("s"))

    def _value(self, value: object, name: str, depth: int) -> JsonValue:
        if value is None or isinstance(value, bool):
            return value
        if name and self._hides(name, value):
            return REDACTED
        if isinstance(value, Enum):
            return str(value.name)
        if isinstance(value, str):
            return self.text(clip(str(value)))
        if isinstance(value, int | float):
            return _number(value)
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            return self._container(value, depth)
        return self.text(clip(_plain(value)))

    def _container(
        self,
        value: Mapping[object, object] | list[object] | tuple[object, ...] | set[object] | frozenset[object],
        depth: int,
    ) -> JsonValue:
        if depth >= MAX_DEPTH:
            return CUT
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        items: list[JsonValue] = []
        previous: object = None
        for item in value:
            if len(items) == MAX_ITEMS:
                items.append(CUT)
                break
            # An argument list carries a secret behind its flag: ["--password", "…"].
            flag = previous.lstrip("-") if isinstance(previous, str) and previous.startswith("--") else ""
            name = _name_of_pair(item)
            if name and self._hides(name, item[1]):  # type: ignore[index]  # it is a pair
                items.append([self.text(name), REDACTED])
            else:
                items.append(self._value(item, flag, depth + 1))
            previous = item
        return items

    def _replace(self, match: re.Match[str]) -> str:
        groups = match.groupdict()
        value_group = next((group for group in _VALUE_GROUPS if groups[group] is not None), None)
        if value_group is None:
            return REDACTED
        whole, value = match.group(), match.group(value_group)
        start = match.start(value_group) - match.start()
        name = groups["name"] or groups["flag"]
        if name and (_HARMLESS_END.search(name) or (_HARMLESS_VALUE.match(value) and name.endswith("s"))):
            # The name is innocent, the value may still be a secret of its own.
            return whole[:start] + self.text(value) + whole[start + len(value) :]
        if groups["scheme"] and not groups["name"]:
            return f"{groups['scheme']} {REDACTED}"
        return whole[:start] + REDACTED + whole[start + len(value) :]


def clip(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """At most `limit` characters, cut between words where there are any, so that half a secret does not escape notice."""
    if len(text) <= limit:
        return text
    words = text[:limit].rsplit(None, 1)
    kept = words[0] if len(words) == 2 and len(words[1]) < limit // 2 else text[:limit]
    return kept + CUT


def _plain_name(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _name_of_pair(item: object) -> str:
    """Headers are often lists of pairs."""
    return _plain_name(item[0]) if isinstance(item, list | tuple) and len(item) == 2 else ""


def _number(value: float) -> JsonValue:
    """JSON knows no NaN and no infinity, and its readers no integer that a double cannot hold."""
    if isinstance(value, int):
        plain = int(value)
        return plain if abs(plain) <= MAX_EXACT else (str(plain) if plain.bit_length() <= MAX_BITS else CUT)
    return float(value) if math.isfinite(value) else str(float(value))


def _plain(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, Message):
        return f"<{value.DESCRIPTOR.full_name}>"
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds()}s"
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


redactor: Final = Redactor()
"""The one everybody uses."""
