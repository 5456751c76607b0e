"""A rule in words, in English: "every Monday and Thursday at 09:00, Europe/Berlin"."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cronsim import CronSim

from services.bot_manager.domain.recurrence.model import Notation, Recurrence
from services.bot_manager.domain.recurrence.rrule import Frequency, RRule, parse_rrule

MAX_TIMES: Final = 8
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_PERIODS: Final = ("year", "month", "week", "day", "hour", "minute")
_WORKDAYS: Final = tuple((0, day) for day in range(5))


def describe(recurrence: Recurrence, start: datetime, time_zone: str) -> str:
    """The rule of a schedule that starts at a wall time. The rule has been checked."""
    if recurrence.notation is Notation.CRON:
        told = CronSim(recurrence.text, start).explain()
        return f"{told[0].lower()}{told[1:]}, {time_zone}"
    return f"{_rule(parse_rrule(recurrence.text), start)}, {time_zone}"


def _rule(rule: RRule, start: datetime) -> str:
    parts = [_rhythm(rule, start), *_days(rule, start), _times(rule, start)]
    if rule.by_position:
        parts.append(
            f"(only the {_listed([_place(place) for place in rule.by_position])} of each {_period(rule)})"
        )
    if rule.count:
        parts.append("once" if rule.count == 1 else f"{rule.count} times")
    if rule.until:
        parts.append(f"until {rule.until:%Y-%m-%d %H:%M}{' UTC' if rule.until.tzinfo else ''}")
    return " ".join(part for part in parts if part)


def _period(rule: RRule) -> str:
    return _PERIODS[rule.frequency]


def _rhythm(rule: RRule, start: datetime) -> str:
    if rule.frequency is Frequency.WEEKLY and rule.interval == 1:
        return f"every {_weekdays(rule, start)}"
    if rule.interval == 1:
        return f"every {_period(rule)}"
    return f"every {rule.interval} {_period(rule)}s"


def _weekdays(rule: RRule, start: datetime) -> str:
    days = rule.by_day or ((0, start.weekday()),)
    if days == _WORKDAYS:
        return "weekday"
    return _listed([f"{_place(number)} {_DAYS[day]}" if number else _DAYS[day] for number, day in days])


def _days(rule: RRule, start: datetime) -> list[str]:
    """In which months and on which days, as far as the rhythm has not said it."""
    told = []
    yearly = rule.frequency is Frequency.YEARLY
    weekly = rule.frequency is Frequency.WEEKLY
    if (rule.by_day or weekly) and not (weekly and rule.interval == 1):
        numbered = any(number for number, _ in rule.by_day)
        told.append(f"on {'the ' if numbered else ''}{_weekdays(rule, start)}")
    if rule.by_month_day:
        told.append(f"on the {_listed([_place(day) for day in rule.by_month_day])} day of the month")
    elif rule.frequency <= Frequency.MONTHLY and not rule.names_days:
        told.append(f"on the {_place(start.day)}")
    if rule.by_year_day:
        told.append(f"on the {_listed([_place(day) for day in rule.by_year_day])} day of the year")
    if rule.by_week:
        told.append(f"in the {_listed([_place(week) for week in rule.by_week])} week of the year")
    months = rule.by_month or ((start.month,) if yearly and not rule.names_days else ())
    if months:
        told.append(f"in {_listed([_MONTHS[month - 1] for month in months])}")
    return told


def _times(rule: RRule, start: datetime) -> str:
    if rule.frequency is Frequency.MINUTELY:
        minutes = f"at minute {_listed([*map(str, rule.by_minute)])}" if rule.by_minute else ""
        return f"{minutes} {_hours(rule)}".strip()
    wanted = rule.by_minute or (start.minute,)
    if rule.frequency is Frequency.HOURLY:
        return f"at minute {_listed([*map(str, wanted)])} {_hours(rule)}".strip()
    times = [f"{hour:02}:{minute:02}" for hour in rule.by_hour or (start.hour,) for minute in wanted]
    if len(times) > MAX_TIMES:
        return f"{len(times)} times a day from {times[0]} to {times[-1]}"
    return f"at {_listed(times)}"


def _hours(rule: RRule) -> str:
    return f"in the hours {_listed([f'{hour:02}' for hour in rule.by_hour])}" if rule.by_hour else ""


def _place(number: int) -> str:
    if number < 0:
        return "last" if number == -1 else f"{_place(-number)} to last"
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
