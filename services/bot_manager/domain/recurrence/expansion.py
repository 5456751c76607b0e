"""The wall times of an RRULE, from any moment on, without walking there from the start.

    period by period (or day by day below a day) → the days that match → the times of day → BYSETPOS → what is after the moment

Every period is found by arithmetic on the interval, so that a rule of minutes is as quick in ten years as today. A rule that yields
nothing for MAX_STEPS candidates in a row, or until LAST_YEAR, has ended; none burns the processor for ever. COUNT is the exception:
its last wall time is counted once, and remembered.
"""

from calendar import isleap, monthrange
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final

from services.bot_manager.domain.recurrence.rrule import Frequency, RRule

LAST_YEAR: Final = 2199
"""The contract's times end before 2100; the rarest rules, such as a leap day on a Sunday, need up to 40 years."""
MAX_STEPS: Final = 100_000
DAY: Final = timedelta(days=1)
_HOURS, _MINUTES = 24, 1440


def walls(rule: RRule, start: datetime, after: datetime | None) -> Iterator[datetime]:
    """Wall times from `start` on and later than `after`, earliest first. All naive, in whole seconds; an aware UNTIL is not looked at."""
    rule = _completed(rule, start)
    last = _last(rule, start) if rule.count else None
    if rule.count and last is None:
        return
    for wall in _from(rule, start, after):
        if last is not None and wall > last:
            return
        if rule.until is not None and rule.until.tzinfo is None and wall > rule.until:
            return
        yield wall


@lru_cache(maxsize=1024)
def _last(rule: RRule, start: datetime) -> datetime | None:
    """The wall time that uses up COUNT, or the last there is before."""
    counted = deque(islice(_from(rule, start, None), rule.count), maxlen=1)
    return counted[0] if counted else None


def _completed(rule: RRule, start: datetime) -> RRule:
    """What the rule does not say is taken from its start."""
    weeks = rule.frequency is Frequency.WEEKLY or bool(rule.by_week)
    if weeks and not (rule.by_day or rule.by_month_day or rule.by_year_day):
        rule = replace(rule, by_day=((0, start.weekday()),))
    elif rule.frequency <= Frequency.MONTHLY and not rule.names_days:
        months = rule.by_month or ((start.month,) if rule.frequency is Frequency.YEARLY else ())
        rule = replace(rule, by_month=months, by_month_day=(start.day,))
    return replace(
        rule,
        by_hour=rule.by_hour or (tuple(range(24)) if rule.frequency >= Frequency.HOURLY else (start.hour,)),
        by_minute=rule.by_minute
        or (tuple(range(60)) if rule.frequency is Frequency.MINUTELY else (start.minute,)),
        by_second=rule.by_second or (start.second,),
    )


def _from(rule: RRule, start: datetime, after: datetime | None) -> Iterator[datetime]:
    """The completed rule without COUNT and UNTIL."""
    moment = start if after is None else max(start, after)
    sets = (
        _period_sets(rule, start, moment)
        if rule.frequency <= Frequency.DAILY
        else _day_sets(rule, start, moment)
    )
    idle = 0
    for steps, found in sets:
        idle += steps
        for wall in _at_positions(rule, found):
            if wall >= start and (after is None or wall > after):
                idle = 0
                yield wall
        if idle > MAX_STEPS:
            return


def _at_positions(rule: RRule, found: Sequence[datetime]) -> Sequence[datetime]:
    if not rule.by_position:
        return found
    size = len(found)
    places = {place - 1 if place > 0 else size + place for place in rule.by_position}
    return [found[place] for place in sorted(places) if 0 <= place < size]


def _period_sets(rule: RRule, start: datetime, moment: datetime) -> Iterator[tuple[int, list[datetime]]]:
    """For each period: how much was looked at, and its wall times."""
    times = [
        time(hour, minute, second)
        for hour in rule.by_hour
        for minute in rule.by_minute
        for second in rule.by_second
    ]
    for dates in _periods(rule, start.date(), moment.date()):
        yield (
            len(dates) + 1,
            [datetime.combine(day, at) for day in dates if matches(rule, day) for at in times],
        )


def _periods(rule: RRule, start: date, moment: date) -> Iterator[Sequence[date]]:
    """The days of each period, from the one that holds `moment` on, as far as BYMONTH lets them matter."""
    step = rule.interval
    if rule.frequency is Frequency.YEARLY:
        for year in range(_aligned(start.year, moment.year, step), LAST_YEAR + 1, step):
            yield [day for month in rule.by_month or range(1, 13) for day in _month(year, month)]
    elif rule.frequency is Frequency.MONTHLY:
        first, now = start.year * 12 + start.month - 1, moment.year * 12 + moment.month - 1
        for index in range(_aligned(first, now, step), (LAST_YEAR + 1) * 12, step):
            month = index % 12 + 1
            yield _month(index // 12, month) if not rule.by_month or month in rule.by_month else ()
    else:
        length = 7 if rule.frequency is Frequency.WEEKLY else 1
        first = start.toordinal()
        if length == 7:
            first -= (start.weekday() - rule.week_start) % 7
        end = date(LAST_YEAR, 12, 31).toordinal()
        for ordinal in range(_aligned(first, moment.toordinal(), step * length), end, step * length):
            yield [date.fromordinal(ordinal + offset) for offset in range(length)]


def _aligned(first: int, wanted: int, step: int) -> int:
    """The last number of first, first + step, … that is not beyond `wanted`."""
    return first + max(wanted - first, 0) // step * step


def _month(year: int, month: int) -> list[date]:
    return [date(year, month, day) for day in range(1, monthrange(year, month)[1] + 1)]


def _day_sets(rule: RRule, start: datetime, moment: datetime) -> Iterator[tuple[int, list[datetime]]]:
    """Below a day: for each hour or minute in step with the start, its wall times."""
    slots = _HOURS if rule.frequency is Frequency.HOURLY else _MINUTES
    minute_of_day = start.hour * 60 + start.minute
    origin = start.toordinal() * slots + minute_of_day * slots // _MINUTES
    day = moment.date()
    while day.year <= LAST_YEAR:
        first = (origin - day.toordinal() * slots) % rule.interval
        if first >= slots or not matches(rule, day):
            yield 1, []
            day += DAY * max(first // slots, 1)
            continue
        for slot in range(first, slots, rule.interval):
            yield 1, list(_slot(rule, day, slot))
        day += DAY


def _slot(rule: RRule, day: date, slot: int) -> Iterable[datetime]:
    (second,) = rule.by_second
    if rule.frequency is Frequency.HOURLY:
        if slot not in rule.by_hour:
            return ()
        return (datetime.combine(day, time(slot, minute, second)) for minute in rule.by_minute)
    hour, minute = divmod(slot, 60)
    if hour not in rule.by_hour or minute not in rule.by_minute:
        return ()
    return (datetime.combine(day, time(hour, minute, second)),)


def matches(rule: RRule, day: date) -> bool:
    """Whether every BY part that concerns days has the day."""
    if rule.by_month and day.month not in rule.by_month:
        return False
    if rule.by_month_day and not _holds(rule.by_month_day, day.day, monthrange(day.year, day.month)[1]):
        return False
    if rule.by_day and not any(_is_day(rule, number, weekday, day) for number, weekday in rule.by_day):
        return False
    if rule.by_year_day and not _holds(rule.by_year_day, _year_day(day), 365 + isleap(day.year)):
        return False
    return not rule.by_week or _holds(rule.by_week, *_week(day, rule.week_start))


def _holds(wanted: Sequence[int], number: int, total: int) -> bool:
    """Whether a number counted from 1, or from the end by -1, is wanted."""
    return number in wanted or number - total - 1 in wanted


def _year_day(day: date) -> int:
    return day.toordinal() - date(day.year, 1, 1).toordinal() + 1


def _is_day(rule: RRule, number: int, weekday: int, day: date) -> bool:
    if day.weekday() != weekday or not number:
        return day.weekday() == weekday
    if rule.frequency is Frequency.MONTHLY or rule.by_month:
        place, length = day.day, monthrange(day.year, day.month)[1]
    else:
        place, length = _year_day(day), 365 + isleap(day.year)
    return (place + 6) // 7 == number if number > 0 else (length - place) // 7 + 1 == -number


def _week(day: date, week_start: int) -> tuple[int, int]:
    """Number of the week of its year, and how many that year has. The first week is that with four days or more."""
    middle = day - DAY * ((day.weekday() - week_start) % 7) + 3 * DAY
    number = (_year_day(middle) + 6) // 7
    last = date(middle.year, 12, 28)  # in the last week, whichever day begins it
    end = last - DAY * ((last.weekday() - week_start) % 7) + 3 * DAY
    return number, (_year_day(end) + 6) // 7
