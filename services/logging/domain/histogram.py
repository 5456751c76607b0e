"""How a stretch of time is cut into buckets, and what is counted in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import count
from typing import Final

from mesh.errors import InvalidArgument

MAX_BUCKETS: Final = 1_000
MOST_WHEN_CHOSEN: Final = 120
"""Buckets of a width that nobody asked for; the next smaller round width would give more, so there are at least 30 from 30 seconds on."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DEFAULT_RANGE: Final = timedelta(hours=1)
_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_ROUND_SECONDS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 7)),
)
_SECOND: Final = timedelta(seconds=1)


class Grouping(Enum):
    """What is counted separately within a bucket."""

    NOTHING = 0
    SEVERITY = 1
    SERVICE = 2
    CATEGORY = 3


@dataclass(frozen=True, slots=True)
class Buckets:
    """`number` buckets from `first` on, each as wide as `interval_seconds`; starts are multiples of that since 1970.

    Counted is from `start` to before `end`, which lie in the first and the last bucket.
    """

    start: datetime
    end: datetime
    first: datetime
    interval_seconds: int
    number: int

    def starts(self) -> Iterator[datetime]:
        """Where each begins."""
        return (self.first + n * self.interval for n in range(self.number))

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=self.interval_seconds)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many records of a group are in a bucket. `group` is a severity's first step, a category, a service, or None."""

    bucket: datetime
    group: int | str | None
    count: int


def buckets(start: datetime, end: datetime, interval_seconds: int | None) -> Buckets:
    """The buckets that cover a range, none if it is empty. None: the round width that gives 30 to 120 of them.

    Raises InvalidArgument (INVALID_FIELD) for a width that makes more than MAX_BUCKETS, or a first bucket before the year 1.
    """
    if interval_seconds is None:
        interval_seconds = next(
            width for width in _widths() if _number(start, end, width) <= MOST_WHEN_CHOSEN
        )
    number = _number(start, end, interval_seconds)
    if number > MAX_BUCKETS:
        raise _refused(f"makes {number:,} buckets; at most {MAX_BUCKETS:,} are given")
    try:
        first = EPOCH + timedelta(seconds=(start - EPOCH) // _SECOND // interval_seconds * interval_seconds)
    except OverflowError:
        raise _refused("makes a bucket that begins before the year 1") from None
    return Buckets(start, end, first, interval_seconds, number)


def _widths() -> Iterator[int]:
    yield from _ROUND_SECONDS
    yield from (_ROUND_SECONDS[-1] * 2**doublings for doublings in count(1))


def _number(start: datetime, end: datetime, width: int) -> int:
    if end <= start:
        return 0
    ends = -(-(end - EPOCH) // _SECOND)
    return -(-ends // width) - (start - EPOCH) // _SECOND // width


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument("INVALID_FIELD", f"interval {why}", field="interval")
