"""Whether a process is as it should be."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.configuration.domain.rollout import Instance, State, state_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FRESH = Instance("logging", "logging-1", 8, 0, (), (), NOW - timedelta(hours=1), NOW - timedelta(seconds=8))


def test_each_state() -> None:
    """The operator's first question after a change is: who runs it?"""
    assert state_of(FRESH, 8, NOW) is State.CURRENT
    assert state_of(FRESH, 9, NOW) is State.BEHIND
    assert state_of(replace(FRESH, refused_revision=9), 9, NOW) is State.REFUSED
    assert state_of(replace(FRESH, connect_time=None), 8, NOW) is State.AWAY


def test_a_process_that_falls_silent_is_away() -> None:
    """A killed replica of configuration never says that its streams ended."""
    assert state_of(FRESH, 8, NOW + timedelta(seconds=20)) is State.AWAY
