"""Which instances a step reaches: server and client must agree without talking."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.configuration.domain.rollout_plan import RolloutPlan, check_plan, place_of, within

CHANGE = "0190c6a1-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("instance", "place"),
    [
        ("bot_manager-host-1", 57),
        ("bot_manager-host-2", 18),
        ("logging-a", 15),
        ("authentication-b", 28),
        ("x", 44),
    ],
)
def test_places_are_those_of_the_contract(instance: str, place: int) -> None:
    """Made with `printf %s CHANGE/instance | sha256sum | cut -c1-16` and `bc`, after StagedValue.share_percent."""
    assert place_of(CHANGE, instance) == place
    assert within(CHANGE, instance, place + 1)
    assert not within(CHANGE, instance, place)


@given(st.text(min_size=1, max_size=128), st.integers(0, 99), st.integers(0, 99))
def test_who_is_in_a_step_stays_in_the_next(instance: str, first: int, second: int) -> None:
    """A value must not come and go while its share rises."""
    low, high = sorted((first, second))
    assert within(CHANGE, instance, high) or not within(CHANGE, instance, low)


def test_shares_are_about_what_they_say() -> None:
    """Ten percent of a thousand instances is about a hundred, and another change begins with others."""
    names = [f"bot_manager-{number}" for number in range(1000)]
    chosen = {name for name in names if within(CHANGE, name, 10)}
    assert 70 <= len(chosen) <= 130
    assert chosen != {name for name in names if within(CHANGE[:-1] + "2", name, 10)}


@pytest.mark.parametrize("steps", [(), (0,), (100,), (10, 10), (50, 10), (-1, 5)])
def test_steps_that_do_not_rise_are_no_plan(steps: tuple[int, ...]) -> None:
    """Nobody loses a value in the middle of a roll-out."""
    with pytest.raises(InvalidArgument) as refused:
        check_plan(RolloutPlan(steps, timedelta(minutes=1)))
    assert refused.value.violations[0].field == "plan.steps_percent"
    check_plan(RolloutPlan((1, 50, 99), timedelta(minutes=1)))
