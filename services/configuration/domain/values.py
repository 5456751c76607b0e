"""JSON values as settings hold them: comparing them, weighing them, and telling "nothing stored" from a stored null.

Numbers are kept as JSON has them: 7 stays 7. Values come in normalised (`whole`), since protobuf's Value knows floats only.
"""

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = Any
"""None, bool, int, float, str, list or dict with text keys; never NaN or infinite."""

MAX_VALUE_BYTES = 64 * 1024
"""Largest value of a setting, as compact JSON in UTF-8 (contract of UpdateSetting)."""

MAX_EXACT = 2**53
"""Up to here a double holds every integer exactly (IEEE 754)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A value that somebody stored; its absence (None) means that the default is in force."""

    value: Json


def canonical(value: Json) -> str:
    """One text for equal values: compact JSON with sorted keys. Unlike Python's ==, tells true from 1."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def same(first: Stored | None, second: Stored | None) -> bool:
    """Whether both store the same value, or both nothing."""
    if first is None or second is None:
        return first is second
    return canonical(first.value) == canonical(second.value)


def weight(value: Json) -> int:
    """Bytes of the value as compact JSON in UTF-8."""
    return len(canonical(value).encode())


def whole(number: float) -> int | float:
    """An integral number as an integer, as long as it is exact; any other as it is."""
    return int(number) if number.is_integer() and abs(number) <= MAX_EXACT else number


def normal(value: Json) -> Json:
    """The value as `whole` would have its numbers: a database that keeps decimals answers 1e16 with an integer."""
    match value:
        case int() if abs(value) > MAX_EXACT:
            return float(value)
        case list():
            return [normal(item) for item in value]
        case dict():
            return {name: normal(item) for name, item in value.items()}
    return value
