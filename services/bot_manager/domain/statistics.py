"""Counters over time: of a post the totals by then, of a bot what each interval added.

A thread is the sum of its parts, each counted with its last reading so far. Intervals are those of UTC; one in which nothing was read
has no point. Counters may fall as well as rise, and so may what an interval "added".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from mesh.errors import InvalidArgument
from services.bot_manager.domain.model import Counters, Reading

MAX_POINTS: Final = 2000
RATE: Final = "engagement_rate"
METRICS: Final = (*(field.name for field in fields(Counters)), RATE)


class Interval(StrEnum):
    """Lengths of intervals; see the contract's StatisticsInterval."""

    EVERY_READING = "EVERY_READING"
    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


_SHORTEST: Final[Mapping[Interval, timedelta]] = {
    Interval.HOUR: timedelta(hours=1),
    Interval.DAY: timedelta(days=1),
    Interval.WEEK: timedelta(weeks=1),
    Interval.MONTH: timedelta(days=28),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric."""

    time: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Sample:
    """All counters at one moment."""

    time: datetime
    counters: Counters


@dataclass(frozen=True, slots=True)
class Ranked:
    """A post with its counters as last read, and the value of the metric that it is ranked by."""

    post_id: str
    text: str
    x_post_id: str
    publish_time: datetime
    value: float
    counters: Counters
    read_time: datetime


@dataclass(frozen=True, slots=True)
class ExportRow:
    """A reading of one part, with the bot it is of."""

    bot_id: str
    reading: Reading


def total(parts: Iterable[Counters]) -> Counters:
    """The sum."""
    return Counters(*(sum(column) for column in zip(*map(astuple, parts), strict=True)))


def engagement_rate(counters: Counters) -> float:
    """Likes, reposts, replies, quotes, bookmarks and clicks per impression, 0 to 1; 0 without impressions."""
    engagements = sum(astuple(counters)) - counters.impressions
    return min(max(engagements / counters.impressions, 0.0), 1.0) if counters.impressions > 0 else 0.0


def check_span(start: datetime | None, end: datetime, interval: Interval) -> None:
    """Raises InvalidArgument (INVALID_FIELD) for an end before the start or too many intervals."""
    if start is None:
        return
    if end < start:
        raise InvalidArgument("INVALID_FIELD", "is before start_time", field="end_time")
    length = _SHORTEST.get(interval)
    if length is not None and (end - start) / length > MAX_POINTS:
        raise InvalidArgument(
            "INVALID_FIELD", f"the span has more than {MAX_POINTS} intervals", field="interval"
        )


def begin_of(time: datetime, interval: Interval) -> datetime:
    """When the interval of `time` begins, UTC; the time itself for EVERY_READING."""
    time = time.astimezone(UTC)
    hour = time.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    match interval:
        case Interval.HOUR:
            return hour
        case Interval.DAY:
            return day
        case Interval.WEEK:
            return day - timedelta(days=day.weekday())
        case Interval.MONTH:
            return day.replace(day=1)
    return time


def totals_over_time(readings: Iterable[Reading], interval: Interval) -> list[Sample]:
    """The post's total at the end of each interval that holds a reading. `readings` by time, earliest first."""
    last: dict[str, Counters] = {}
    samples: dict[datetime, Counters] = {}
    for reading in readings:
        last[reading.x_post_id] = reading.counters
        samples[begin_of(reading.time, interval)] = total(last.values())
    return [Sample(time, counters) for time, counters in samples.items()]


def added_over_time(readings: Iterable[Reading], start: datetime, interval: Interval) -> list[Sample]:
    """What each interval added, over all posts. Readings from before `start` say only where the counting begins."""
    last: dict[str, Counters] = {}
    added: dict[datetime, Counters] = {}
    for reading in readings:
        before = last.get(reading.x_post_id, Counters())
        last[reading.x_post_id] = reading.counters
        if reading.time >= start:
            begin = begin_of(reading.time, interval)
            added[begin] = total([added.get(begin, Counters()), _difference(reading.counters, before)])
    return [Sample(time, counters) for time, counters in sorted(added.items())]


def series(samples: Sequence[Sample], metrics: Sequence[str]) -> dict[str, list[Point]]:
    """One series a metric, in the order of METRICS; `metrics` empty means all. None without samples."""
    wanted = [name for name in METRICS if name in metrics or not metrics]
    kept = samples[-MAX_POINTS:]
    return {
        name: [Point(sample.time, _value(sample.counters, name)) for sample in kept]
        for name in wanted
        if kept
    }


def _value(counters: Counters, name: str) -> float:
    return engagement_rate(counters) if name == RATE else float(getattr(counters, name))


def _difference(after: Counters, before: Counters) -> Counters:
    return Counters(*(new - old for new, old in zip(astuple(after), astuple(before), strict=True)))
