"""How long records are kept, and which of them lie in the partition of their day.

    … out of reach │ today - days … today + DAYS_AHEAD │ out of reach …

A record in reach lies in its day's partition and goes with it. One out of reach (a clock that is wrong, a spool that was replayed
too late) lies in its category's default partition, and is kept as long as the others from when it was first seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from services.logging.domain.records import Record

DAYS_AHEAD = 2
MAX_DAYS = 1_000
"""Longest retention; it bounds how many partitions there can be."""

Place = tuple[int, date]
"""A category and a day, UTC."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Category -> days that its records are kept."""

    days: Mapping[int, int]

    def first_day(self, category: int, now: datetime) -> date:
        """The oldest day that is kept."""
        return now.astimezone(UTC).date() - timedelta(days=self.days[category])

    def reaches(self, category: int, day: date, now: datetime) -> bool:
        """Whether the day has a partition of its own, or may get one."""
        return self.first_day(category, now) <= day <= now.astimezone(UTC).date() + timedelta(days=DAYS_AHEAD)

    def coming(self, now: datetime) -> list[Place]:
        """Today's partitions and those of the days ahead."""
        today = now.astimezone(UTC).date()
        return [
            (category, today + timedelta(days=n)) for n in range(DAYS_AHEAD + 1) for category in self.days
        ]


def place_of(record: Record) -> Place:
    """Where the record belongs by its time."""
    return record.category, record.time.date()


def seen_now(record: Record, now: datetime) -> Record:
    """A record out of reach: what its clock says of when it was seen is worth nothing either."""
    return replace(record, observed_time=now)


def places_of(records: Iterable[Record]) -> set[Place]:
    """All the places of these records."""
    return {place_of(record) for record in records}
