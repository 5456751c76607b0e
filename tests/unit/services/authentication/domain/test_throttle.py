"""The throttle: slows guessing down, locks nobody out for good."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.authentication.domain.throttle import (
    FORGET_AFTER,
    Attempts,
    ThrottleRule,
    account_lane,
    count,
    pause,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULE = ThrottleRule(free_attempts=3, first_pause=timedelta(seconds=1), longest_pause=timedelta(seconds=8))


def test_pauses_begin_after_the_free_attempts_and_double_up_to_the_bound() -> None:
    """A person who mistypes must not notice; a program must."""
    seconds = [pause(failures, RULE).total_seconds() for failures in range(1, 10)]
    assert seconds == [0, 0, 0, 1, 2, 4, 8, 8, 8]


def test_an_attempt_within_the_pause_is_refused_and_not_counted() -> None:
    """Counting it would let anyone keep an account closed by knocking."""
    before = Attempts(4, NOW, NOW + timedelta(seconds=1))
    assert count(before, RULE, NOW + timedelta(milliseconds=999)) is None
    after = count(before, RULE, NOW + timedelta(seconds=1))
    assert after is not None
    assert after.failures == 5


def test_old_failures_are_forgotten() -> None:
    """Last year's typing errors are nobody's business."""
    later = NOW + FORGET_AFTER + timedelta(seconds=1)
    after = count(Attempts(50, NOW, NOW + timedelta(days=9)), RULE, later)
    assert after == Attempts(1, later, later)


@given(st.integers(min_value=1, max_value=100_000))
def test_no_pause_is_longer_than_the_bound(failures: int) -> None:
    """Slowed down, never locked."""
    assert timedelta() <= pause(failures, RULE) <= RULE.longest_pause


def test_lanes_do_not_show_names() -> None:
    """People type passwords into the field for the name."""
    assert len(account_lane("ann")) == 32
    assert account_lane("ann") != account_lane("bob")
