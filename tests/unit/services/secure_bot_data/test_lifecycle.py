"""The table of a version's life, walked."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import FailedPrecondition, NotFound
from services.secure_bot_data.domain.lifecycle import TRANSITIONS, Event, affected, check_readable, refusal
from services.secure_bot_data.domain.model import Description, SecretKind, State, VersionFact

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def facts(*states: State) -> list[VersionFact]:
    return [VersionFact(number, state, NOW, None) for number, state in enumerate(states, 1)]


def test_every_state_knows_every_event() -> None:
    """A pair that the table lacks would be an unexpected exception."""
    assert set(TRANSITIONS) == set(product(State, Event))


@given(st.sampled_from(State), st.lists(st.sampled_from(Event)))
def test_nothing_leaves_destroyed_and_events_repeat_harmlessly(state: State, events: list[Event]) -> None:
    """Destroying is a promise, and callers repeat after a lost answer."""
    for event in events:
        after = TRANSITIONS[state, event]
        if state is State.DESTROYED:
            assert after in (None, State.DESTROYED)
        if after is not None:
            assert TRANSITIONS[after, event] is after
            state = after


@given(st.lists(st.sampled_from(State), max_size=6), st.sampled_from(Event))
def test_naming_no_version_means_all_that_it_fits(states: list[State], event: Event) -> None:
    """Destroyed versions of a secret must not make deleting the rest impossible."""
    expected = [n for n, state in enumerate(states, 1) if TRANSITIONS[state, event] not in (None, state)]
    assert affected(facts(*states), event, []) == expected


def test_a_named_version_is_there_and_may_be_changed_or_the_call_is_refused() -> None:
    """A typing error must not pass for success."""
    known = facts(State.ACTIVE, State.DESTROYED, State.DELETED)
    assert affected(known, Event.DELETE, [3, 1]) == [1]
    assert affected(known, Event.DESTROY, [1, 2, 3]) == [1, 3]
    with pytest.raises(FailedPrecondition) as caught:
        affected(known, Event.UNDELETE, [3, 2])
    assert caught.value.reason == "SECRET_DESTROYED"
    with pytest.raises(NotFound):
        affected(known, Event.DELETE, [4])


def test_a_secret_expires_at_its_time_and_not_before() -> None:
    """The bound is exclusive for reading: at the time itself it is over."""
    described = Description(SecretKind.GENERIC, ("a",), NOW, "me", "id", expire_time=NOW)
    check_readable(1, described, NOW - timedelta(microseconds=1))
    with pytest.raises(FailedPrecondition) as caught:
        check_readable(1, described, NOW)
    assert caught.value.reason == "SECRET_EXPIRED"


def test_refusals_tell_whether_there_is_a_way_back() -> None:
    """An operator acts differently on the two."""
    assert refusal(1, State.DELETED).reason == "SECRET_DELETED"
    assert refusal(1, State.DESTROYED).reason == "SECRET_DESTROYED"
