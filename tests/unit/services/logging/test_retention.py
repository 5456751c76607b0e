"""Which days have partitions of their own, and what becomes of records that belong to none."""

from datetime import UTC, date, datetime, timedelta

import pytest

from services.logging.domain.records import CONSOLE, DEBUG
from services.logging.domain.retention import DAYS_AHEAD, MAX_DAYS, Retention, place_of, seen_now
from services.logging.settings import RETENTION
from tests.fakes.logging import a_record

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
FEW = Retention({DEBUG: 14, CONSOLE: 30})


@pytest.mark.parametrize(
    ("category", "day", "reached"),
    [
        (DEBUG, date(2026, 3, 1), True),
        (DEBUG, date(2026, 2, 15), True),
        (DEBUG, date(2026, 2, 14), False),
        (CONSOLE, date(2026, 2, 14), True),
        (DEBUG, date(2026, 3, 3), True),
        (DEBUG, date(2026, 3, 4), False),
    ],
)
def test_days_from_the_oldest_kept_to_two_ahead_are_reached(category: int, day: date, reached: bool) -> None:
    """Beyond, a clock is wrong, and partitions would be made without end."""
    assert FEW.reaches(category, day, NOW) is reached


def test_what_is_reached_is_what_retention_keeps() -> None:
    """A partition that is made for a record must not be due at once."""
    first = FEW.first_day(DEBUG, NOW)
    assert FEW.reaches(DEBUG, first, NOW)
    assert not FEW.reaches(DEBUG, first - timedelta(days=1), NOW)


def test_coming_days_are_those_of_every_category() -> None:
    """Made ahead, so that nothing waits at midnight."""
    assert sorted(FEW.coming(NOW)) == [
        (category, date(2026, 3, 1 + n)) for category in (DEBUG, CONSOLE) for n in range(DAYS_AHEAD + 1)
    ]


def test_a_day_is_that_of_utc() -> None:
    """Partitions begin at midnight UTC, wherever the source is."""
    assert place_of(a_record(time=datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC))) == (
        DEBUG,
        date(2026, 3, 1),
    )


def test_a_stray_counts_as_seen_when_it_came() -> None:
    """Its retention begins then."""
    stray = a_record(time=datetime(1970, 1, 1, tzinfo=UTC), body="kept")
    seen = seen_now(stray, NOW)
    assert (seen.observed_time, seen.time, seen.body) == (NOW, stray.time, "kept")


def test_no_setting_keeps_longer_than_partitions_are_made() -> None:
    """The database's function refuses days further back than MAX_DAYS and a few."""
    assert {definition.json_schema["maximum"] for definition in RETENTION.values()} == {MAX_DAYS}
