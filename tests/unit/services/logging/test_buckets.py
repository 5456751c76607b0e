"""How a range of time is cut into buckets."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.logging.domain.histogram import EPOCH, MAX_BUCKETS, buckets

LONGEST_SECONDS = 8_000 * 365 * 86_400
times = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))  # noqa: DTZ001


@given(times, st.floats(30, LONGEST_SECONDS / 2))
def test_a_width_that_nobody_asked_for_gives_30_to_120_buckets(start: datetime, seconds: float) -> None:
    """Enough for a chart, and no more than it can show."""
    end = min(start + timedelta(seconds=seconds), datetime.max.replace(tzinfo=UTC))
    assert 30 <= buckets(start, end, None).number <= 120


@given(times, st.integers(1, 10**6), st.integers(1, MAX_BUCKETS - 1), st.integers(0, 10**6))
def test_buckets_are_aligned_and_cover_the_range(start: datetime, width: int, whole: int, rest: int) -> None:
    """Two charts of the same width can be laid on each other, and nothing at the ends of the range is left out."""
    end = start + timedelta(seconds=width * whole - 1, microseconds=rest)
    if end <= start:
        return
    found = buckets(start, end, width)
    starts = list(found.starts())
    assert (starts[0] - EPOCH) % timedelta(seconds=width) == timedelta(0)
    assert starts[0] <= start < starts[0] + found.interval
    assert starts[-1] < end <= starts[-1] + found.interval
    assert all(later - earlier == found.interval for earlier, later in itertools.pairwise(starts))


def test_too_many_buckets_are_refused_with_the_field() -> None:
    """A chart of a year by the second would be a database dump."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert buckets(start, start + timedelta(seconds=1_000), 1).number == MAX_BUCKETS
    with pytest.raises(InvalidArgument, match="1,001 buckets") as refused:
        buckets(start, start + timedelta(seconds=1_001), 1)
    assert (refused.value.reason, refused.value.violations[0].field) == ("INVALID_FIELD", "interval")


def test_the_ends_of_time_are_no_trap() -> None:
    """Ranges that are empty, a second long, as long as the calendar, or begin where it does."""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert buckets(last, first, None).number == 0
    assert buckets(EPOCH, EPOCH, 5).number == 0
    assert buckets(EPOCH, EPOCH + timedelta(microseconds=1), None).number == 1
    assert 30 <= buckets(first + timedelta(days=400_000), last, None).number <= 120
    with pytest.raises(InvalidArgument, match="before the year 1"):
        buckets(first, last, 5_000_000_000)
