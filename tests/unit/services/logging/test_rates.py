"""How much each caller may send."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.logging.domain.rates import CallerRates


class Now:
    """Seconds that a test turns."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.seconds


def test_what_is_over_the_rate_waits_until_there_is_room() -> None:
    """And the wait that is told is enough."""
    now = Now()
    rates = CallerRates(lambda: 60, now)
    assert rates.take("a", 50) == timedelta()
    assert rates.take("a", 20) == timedelta(seconds=10)
    assert rates.take("b", 60) == timedelta(), "each has a bucket of their own"
    now.seconds += 10
    assert rates.take("a", 20) == timedelta()


def test_a_batch_larger_than_the_bucket_needs_a_full_one_and_is_paid_off() -> None:
    """It is not refused for ever, and does not raise the rate."""
    now = Now()
    rates = CallerRates(lambda: 60, now)
    assert rates.take("a", 180) == timedelta()
    assert rates.take("a", 1) == timedelta(seconds=121)


def test_what_is_remembered_is_bounded() -> None:
    """The caller seen longest ago is forgotten, never the one who is sending."""
    rates = CallerRates(lambda: 60, Now(), max_callers=2)
    for caller in ("a", "b", "a", "c"):
        rates.take(caller, 30)
    assert rates.take("a", 1) > timedelta()
    assert rates.take("b", 60) == timedelta()


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 60)), max_size=60))
def test_nobody_gets_more_than_the_rate_and_one_bucket(steps: list[tuple[float, int]]) -> None:
    """Over any stretch of time."""
    now, taken = Now(), 0
    rates = CallerRates(lambda: 60, now)
    for pause, count in steps:
        now.seconds += pause
        taken += count if rates.take("a", count) == timedelta() else 0
    assert taken <= 60 + (now.seconds - 100) + 0.001
