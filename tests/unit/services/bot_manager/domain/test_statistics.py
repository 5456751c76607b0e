"""Counters over time."""

from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import InvalidArgument
from services.bot_manager.domain.model import Counters, Reading
from services.bot_manager.domain.statistics import (
    METRICS,
    Interval,
    Point,
    added_over_time,
    begin_of,
    check_span,
    engagement_rate,
    series,
    total,
    totals_over_time,
)

DAY = timedelta(days=1)
MONDAY = datetime(2026, 6, 1, 10, 30, tzinfo=UTC)


def reading(part: str, time: datetime, impressions: int, likes: int = 0) -> Reading:
    return Reading("p", part, time, Counters(impressions=impressions, likes=likes))


READINGS = [
    reading("1", MONDAY, 10, 1),
    reading("2", MONDAY, 4),
    reading("1", MONDAY + DAY / 24, 30, 3),
    reading("1", MONDAY + DAY, 25, 3),
]


def test_a_thread_is_the_sum_of_its_parts_so_far() -> None:
    """A part that was not read again keeps its last counters."""
    samples = totals_over_time(READINGS, Interval.EVERY_READING)
    assert [(one.time, one.counters.impressions) for one in samples] == [
        (MONDAY, 14),
        (MONDAY + DAY / 24, 34),
        (MONDAY + DAY, 29),
    ]
    days = totals_over_time(READINGS, Interval.DAY)
    assert [one.counters.impressions for one in days] == [34, 29]


def test_a_bots_intervals_tell_what_was_added() -> None:
    """What was read before the span only says where the counting begins; X may also take away."""
    samples = added_over_time(READINGS, MONDAY + DAY / 48, Interval.DAY)
    assert [(one.time, one.counters.impressions, one.counters.likes) for one in samples] == [
        (MONDAY.replace(hour=0, minute=0), 20, 2),
        (MONDAY.replace(hour=0, minute=0) + DAY, -5, 0),
    ]


def test_series_are_those_asked_for() -> None:
    """All of them if none is named, none where nothing was read."""
    samples = totals_over_time(READINGS[:1], Interval.EVERY_READING)
    assert series(samples, ["likes"]) == {"likes": [Point(MONDAY, 1.0)]}
    assert tuple(series(samples, [])) == METRICS
    assert series([], []) == {}


def test_engagement_is_a_share() -> None:
    """0 without impressions, and never beyond 1 even if X counts oddly."""
    assert engagement_rate(Counters()) == 0
    assert engagement_rate(Counters(impressions=10, likes=1, url_clicks=1)) == 0.2
    assert engagement_rate(Counters(impressions=1, likes=5)) == 1
    assert total([]) == Counters()


def test_intervals_begin_by_utc() -> None:
    """Weeks on Monday, months on their first."""
    thursday = datetime(2026, 6, 4, 1, 2, 3, tzinfo=UTC)
    assert begin_of(thursday, Interval.WEEK) == datetime(2026, 6, 1, tzinfo=UTC)
    assert begin_of(thursday, Interval.MONTH) == datetime(2026, 6, 1, tzinfo=UTC)
    assert begin_of(thursday, Interval.HOUR) == datetime(2026, 6, 4, 1, tzinfo=UTC)


def test_a_span_is_bounded() -> None:
    """Nobody gets a million points."""
    check_span(MONDAY, MONDAY + 80 * DAY, Interval.HOUR)
    for end, interval, field in (
        (MONDAY - DAY, Interval.DAY, "end_time"),
        (MONDAY + 84 * DAY, Interval.HOUR, "interval"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            check_span(MONDAY, end, interval)
        assert refused.value.violations[0].field == field
