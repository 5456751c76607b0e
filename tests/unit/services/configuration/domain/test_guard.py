"""The guard's arithmetic: totals that only grow become calls since a moment."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.configuration.domain.guard import WINDOW, Counted, Rate, looks_back_to, total, trips
from services.configuration.domain.rollout_plan import Guard

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(hours=1), NOW + timedelta(seconds=1)


def test_calls_since_a_moment_are_the_newest_total_less_what_it_was_then() -> None:
    """Errors of the values before are not held against the new ones."""
    counted = Counted(EARLIER, Rate(500, 60), Rate(400, 60), Rate(100, 60))
    assert counted.since(NOW) == Rate(100, 0)


def test_without_a_report_from_before_an_older_process_counts_from_its_first() -> None:
    """What it did before nobody knows; it is left out, not blamed."""
    assert Counted(EARLIER, Rate(500, 60), None, Rate(450, 50)).since(NOW) == Rate(50, 10)
    assert Counted(EARLIER, Rate(500, 60), None, Rate(500, 60)).since(NOW) == Rate()


def test_a_process_that_started_since_counts_whole() -> None:
    """A crash because of the new values must not hide them."""
    assert Counted(LATER, Rate(30, 30), None, Rate(30, 30)).since(NOW) == Rate(30, 30)
    crashed = Counted(EARLIER, Rate(510, 70), Rate(500, 60), Rate(100, 0))
    assert total([crashed, Counted(LATER, Rate(30, 30), None, Rate(30, 30))], NOW) == Rate(40, 40)


counts = st.integers(0, 1_000_000)
rates = st.tuples(counts, counts).map(lambda pair: Rate(max(pair), min(pair)))


@given(newest=rates, before=st.none() | rates, first=rates, old=st.booleans())
def test_never_more_calls_than_were_told_and_never_less_than_none(
    newest: Rate, before: Rate | None, first: Rate, *, old: bool
) -> None:
    """Whatever a confused instance tells."""
    rate = Counted(EARLIER if old else LATER, newest, before, first).since(NOW)
    assert 0 <= rate.calls <= newest.calls
    assert 0 <= rate.failed <= newest.failed


@pytest.mark.parametrize(
    ("rate", "tripped"),
    [
        (Rate(99, 99), False),
        (Rate(100, 5), False),
        (Rate(100, 6), True),
        (Rate(1000, 51), True),
        (Rate(0, 0), False),
    ],
)
def test_the_guard_trips_above_its_rate_once_there_are_enough_calls(rate: Rate, *, tripped: bool) -> None:
    """ "Highest tolerated" is tolerated; few calls say nothing."""
    assert bool(trips(Guard(0.05), rate)) is tripped


def test_the_sentence_says_rate_and_threshold() -> None:
    """It is all that an operator reads in the morning."""
    sentence = trips(Guard(0.05, min_calls=1), Rate(480, 60))
    assert sentence == (
        "the guard tripped: 60 of 480 calls failed on instances with the new values, 12.5 % where at most 5 % is tolerated"
    )


@given(rates, st.floats(0.001, 1), st.integers(1, 1000))
def test_more_failures_never_make_a_tripped_guard_content(rate: Rate, most: float, few: int) -> None:
    """Monotonous: no error rate is so high that it looks good."""
    guard = Guard(most, min_calls=few)
    if trips(guard, rate):
        assert trips(guard, Rate(rate.calls, rate.calls))
    assert not trips(guard, Rate(rate.calls, 0))


def test_a_long_step_is_judged_by_its_last_half_hour() -> None:
    """Twenty good hours must not hide ten bad minutes."""
    assert looks_back_to(NOW, NOW + timedelta(minutes=10)) == NOW
    assert looks_back_to(NOW, NOW + timedelta(hours=20)) == NOW + timedelta(hours=20) - WINDOW
