"""RRULE of RFC 5545, section 3.3.10: reading one. What it expands to is said in `expansion.py`.

Strict where the RFC is: parts that a frequency does not know are refused, not ignored. Narrower in three points: at most once a
minute, so no SECONDLY and one BYSECOND; a COUNT of at most 100,000, since it can only be found by counting; no BYEASTER and the like.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import IntEnum
from functools import lru_cache
from typing import Final

MAX_COUNT: Final = 100_000
MAX_INTERVAL: Final = 1_000_000
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

_DAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_NUMBER = re.compile(r"[+-]?[0-9]{1,7}")
_UNTIL = re.compile(r"([0-9]{8})(T[0-9]{6}(Z?))?")


class RuleError(ValueError):
    """A rule that cannot be read; its text is a sentence for people."""


class Frequency(IntEnum):
    """How long a period is, from long to short."""

    YEARLY = 0
    MONTHLY = 1
    WEEKLY = 2
    DAILY = 3
    HOURLY = 4
    MINUTELY = 5


@dataclass(frozen=True, slots=True)
class RRule:
    """A rule as it was read; empty tuples are parts that it does not have. `by_day` holds (n, weekday), n 0 for every one, Monday 0."""

    frequency: Frequency
    interval: int = 1
    count: int = 0
    until: datetime | None = None
    """The last moment, inclusive: aware, or naive on the wall clock."""
    by_month: tuple[int, ...] = ()
    by_week: tuple[int, ...] = ()
    by_year_day: tuple[int, ...] = ()
    by_month_day: tuple[int, ...] = ()
    by_day: tuple[tuple[int, int], ...] = ()
    by_hour: tuple[int, ...] = ()
    by_minute: tuple[int, ...] = ()
    by_second: tuple[int, ...] = ()
    by_position: tuple[int, ...] = ()
    week_start: int = 0

    @property
    def names_days(self) -> bool:
        """Whether it says on which days, so that the start does not have to."""
        return bool(self.by_week or self.by_year_day or self.by_month_day or self.by_day)


_LISTS: Final[Mapping[str, tuple[str, int, int]]] = {
    "BYMONTH": ("by_month", 1, 12),
    "BYWEEKNO": ("by_week", -53, 53),
    "BYYEARDAY": ("by_year_day", -366, 366),
    "BYMONTHDAY": ("by_month_day", -31, 31),
    "BYHOUR": ("by_hour", 0, 23),
    "BYMINUTE": ("by_minute", 0, 59),
    "BYSECOND": ("by_second", 0, 59),
    "BYSETPOS": ("by_position", -366, 366),
}
_ALLOWED: Final[Mapping[str, frozenset[Frequency]]] = {
    "BYWEEKNO": frozenset({Frequency.YEARLY}),
    "BYYEARDAY": frozenset({Frequency.YEARLY, Frequency.HOURLY, Frequency.MINUTELY}),
    "BYMONTHDAY": frozenset(Frequency) - {Frequency.WEEKLY},
}
"""Frequencies that know a part, where not all do."""


@lru_cache(maxsize=1024)
def parse_rrule(text: str) -> RRule:
    """Raises RuleError."""
    parts: dict[str, str] = {}
    for part in text.upper().removesuffix(";").split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise RuleError(f"{part!r} is not NAME=VALUE")
        if name in parts:
            raise RuleError(f"{name} is given twice")
        parts[name] = value
    rule = _read(parts)
    if rule.count and rule.until:
        raise RuleError("COUNT and UNTIL exclude each other")
    if len(rule.by_second) > 1:
        raise RuleError("a schedule recurs at most once a minute: BYSECOND takes one value")
    if rule.by_position and not (rule.names_days or rule.by_month or rule.by_hour or rule.by_minute):
        raise RuleError("BYSETPOS needs another BY part to choose from")
    if any(number for number, _ in rule.by_day) and (rule.frequency > Frequency.MONTHLY or rule.by_week):
        raise RuleError(
            "BYDAY takes numbers only with FREQ=MONTHLY, or with FREQ=YEARLY and without BYWEEKNO"
        )
    return rule


def _read(parts: Mapping[str, str]) -> RRule:
    if parts.get("FREQ") == "SECONDLY":
        raise RuleError("a schedule recurs at most once a minute: no FREQ=SECONDLY")
    if parts.get("FREQ") not in Frequency.__members__:
        raise RuleError(f"FREQ has to be one of {', '.join(Frequency.__members__)}")
    frequency = Frequency[parts["FREQ"]]
    values: dict[str, object] = {}
    for name, value in parts.items():
        if frequency not in _ALLOWED.get(name, frozenset(Frequency)):
            raise RuleError(f"{name} is not for FREQ={frequency.name}")
        if name in _LISTS:
            field, least, most = _LISTS[name]
            values[field] = tuple(sorted({_number(name, one, least, most) for one in value.split(",")}))
        elif name == "BYDAY":
            values["by_day"] = tuple(sorted({_day(one) for one in value.split(",")}))
        elif name == "INTERVAL":
            values["interval"] = _number(name, value, 1, MAX_INTERVAL)
        elif name == "COUNT":
            values["count"] = _number(name, value, 1, MAX_COUNT)
        elif name == "UNTIL":
            values["until"] = _until(value)
        elif name == "WKST" and value in WEEKDAYS:
            values["week_start"] = WEEKDAYS.index(value)
        elif name != "FREQ":
            raise RuleError(f"{name}={value} is not known")
    return RRule(frequency, **values)  # type: ignore[arg-type]  # names and types as read just above


def _number(name: str, text: str, least: int, most: int) -> int:
    number = int(text) if _NUMBER.fullmatch(text) else None
    if number is None or not least <= number <= most or (number == 0 and least < 0):
        raise RuleError(f"{name}={text} is not from {least} to {most}{', without 0' if least < 0 else ''}")
    return number


def _day(text: str) -> tuple[int, int]:
    match = _DAY.fullmatch(text)
    number = int(match[1] or 0) if match else 0
    if match is None or abs(number) > 53 or (match[1] and not number):
        raise RuleError(f"BYDAY={text} is not a day such as MO, 2TU or -1FR")
    return number, WEEKDAYS.index(match[2])


def _until(text: str) -> datetime:
    """A date is meant whole."""
    match = _UNTIL.fullmatch(text)
    if match is None:
        raise RuleError(f"UNTIL={text} is neither a date nor a time such as 20270331T090000Z")
    try:
        if match[2] is None:
            return datetime.combine(date.fromisoformat(text), time.max)
        moment = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        raise RuleError(f"UNTIL={text} is not on the calendar") from None
    return moment.replace(tzinfo=UTC) if match[3] else moment
