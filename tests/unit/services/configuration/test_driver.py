"""Whose word counts while a change rolls out: instances that have the new values, of the services concerned."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.configuration.domain.changes import Cause
from services.configuration.domain.pending import Item, PendingChange, State
from services.configuration.domain.rollout import Instance, Refusal
from services.configuration.domain.rollout_plan import Guard, RolloutPlan, within
from services.configuration.domain.values import Stored
from services.configuration.driver import judged_instances, refusal_of
from tests.fakes.clock import START

KEY, SHARED_KEY = "bot_manager.a.b", "mesh.a.b"
CHANGE = PendingChange(
    "0190c6a1-0000-7000-8000-000000000001",
    State.ROLLING_OUT,
    (Item(KEY, None, Stored(5), Cause.UPDATE, 0),),
    "ana",
    "",
    START,
    START,
    plan=RolloutPlan((50,), timedelta(minutes=1), Guard(0.1)),
    share_percent=50,
    steps_taken=1,
    staged_revision=7,
)
SHARED_CHANGE = replace(CHANGE, items=(replace(CHANGE.items[0], key=SHARED_KEY), *CHANGE.items))
NAMES = [f"one-{number}" for number in range(100)]
INSIDE = [name for name in NAMES if within(CHANGE.id, name, 50)]
OUTSIDE = [name for name in NAMES if name not in INSIDE]


def _instance(name: str, service: str = "bot_manager", refused: int = 0, key: str = "") -> Instance:
    refusals = (Refusal(key, "too large"),) if key else ()
    return Instance(service, name, 6, refused, refusals, (), START, START)


@pytest.mark.parametrize(
    ("change", "named", "counted"),
    [
        (CHANGE, "", {"bot_manager"}),
        (CHANGE, "logging", {"logging"}),
        (SHARED_CHANGE, "", {"bot_manager", "logging"}),
        (SHARED_CHANGE, "logging", {"logging"}),
    ],
)
def test_the_guard_counts_the_service_it_names_else_those_that_read_the_settings(
    change: PendingChange, named: str, counted: set[str]
) -> None:
    """A shared setting is read by all; instances outside of the share say nothing about the value."""
    instances = [_instance(name, service) for service in ("bot_manager", "logging") for name in NAMES]
    found = judged_instances(change, Guard(0.1, named), instances)
    assert found == dict.fromkeys(counted, INSIDE)


def test_a_refusal_counts_if_it_is_of_this_value_by_one_that_has_it() -> None:
    """The sentence names who, what and why."""
    assert refusal_of(CHANGE, [_instance(INSIDE[0], refused=7, key=KEY)]) == (
        f"bot_manager {INSIDE[0]} refused {KEY}: too large"
    )
    for other in (
        _instance(OUTSIDE[0], refused=7, key=KEY),
        _instance(INSIDE[0], refused=6, key=KEY),
        _instance(INSIDE[0], refused=7, key=SHARED_KEY),
        _instance(INSIDE[0]),
    ):
        assert not refusal_of(CHANGE, [other])
