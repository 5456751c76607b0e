"""The life of a change that is not in force at once: a table that people and the clock can only walk forward."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Aborted, FailedPrecondition, Internal, MeshError, PermissionDenied
from services.configuration.domain.changes import Cause
from services.configuration.domain.pending import (
    EVERYONE,
    FINAL,
    LIFE,
    Event,
    Item,
    Need,
    PendingChange,
    State,
    advanced,
    already,
    begun,
    completed,
    decided,
    expired,
    next_event,
    require,
    reverted,
)
from services.configuration.domain.rollout_plan import RolloutPlan
from services.configuration.domain.values import Stored

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ITEM = Item("bot_manager.a.b", None, Stored(5), Cause.UPDATE, 4)
PLAN = RolloutPlan((10, 50), timedelta(minutes=1))
WAITING = PendingChange(
    "0190c6a1-0000-7000-8000-000000000001",
    State.PENDING_APPROVAL,
    (ITEM,),
    "ana",
    "because",
    NOW,
    NOW,
    expire_time=NOW + timedelta(days=7),
    next_time=NOW + timedelta(days=7),
)
BY_ITSELF = (Event.REFUSE, Event.TRIP, Event.BREAK)


def test_the_table_is_what_the_contract_says() -> None:
    """SettingChangeState tells clients which states follow which; three are final."""
    assert {(state, transition.to) for (state, _), transition in LIFE.items()} == {
        (State.PENDING_APPROVAL, State.APPLIED),
        (State.PENDING_APPROVAL, State.ROLLING_OUT),
        (State.PENDING_APPROVAL, State.REJECTED),
        (State.ROLLING_OUT, State.ROLLING_OUT),
        (State.ROLLING_OUT, State.APPLIED),
        (State.ROLLING_OUT, State.REVERTED),
    }
    assert {State.APPLIED, State.REJECTED, State.REVERTED} == FINAL


def test_every_approval_is_another_persons_and_of_what_was_asked() -> None:
    """The one thing four eyes are for, on every way out of waiting that brings a value into force."""
    for (state, _), transition in LIFE.items():
        if state is State.PENDING_APPROVAL and transition.to not in FINAL - {State.APPLIED}:
            assert transition.needs >= {Need.OTHER_PERSON, Need.UNCHANGED}


@given(
    plan=st.none()
    | st.lists(st.integers(1, 99), min_size=1, max_size=5, unique=True).map(
        lambda steps: RolloutPlan(tuple(sorted(steps)), timedelta(minutes=1))
    ),
    events=st.lists(st.sampled_from(Event), max_size=30),
)
def test_whatever_happens_the_life_goes_forward(plan: RolloutPlan | None, events: list[Event]) -> None:
    """Shares only rise until the end, a final state is never left, and nothing waits in one."""
    change, now, shares = replace(WAITING, plan=plan), NOW + timedelta(days=8), [0]
    for event in events:
        before = change
        try:
            change = _happens(change, event, now)
        except MeshError:
            assert change == before
            continue
        assert before.state not in FINAL
        now += timedelta(minutes=1)
        if change.state in FINAL:
            assert change.next_time is None
            assert change.share_percent == (EVERYONE if change.state is State.APPLIED else 0)
        else:
            assert change.next_time is not None
            shares.append(change.share_percent)
    assert shares == sorted(shares)
    if plan is not None and change.state is State.APPLIED:
        assert tuple(shares[1:]) == plan.steps_percent


def _happens(change: PendingChange, event: Event, now: datetime) -> PendingChange:
    match event:
        case Event.APPROVE | Event.APPROVE_ROLLOUT:
            if event is not change.approval:
                require(change, event, now=now, person="bea")
            result = decided(change, event, now=now, person="bea")
            return begun(result, now=now, revision=9) if result.plan else result
        case Event.REJECT | Event.STOP:
            return decided(change, event, now=now, person="bea", outcome="no")
        case Event.EXPIRE:
            return expired(change, now=now)
        case Event.ADVANCE:
            return advanced(change, now=now)
        case Event.COMPLETE:
            return completed(change, now=now, revision=9)
        case _:
            return reverted(change, event, now=now, outcome="no")


def test_nobody_approves_what_they_asked_for() -> None:
    """Nor does somebody without a name."""
    for person in ("ana", ""):
        with pytest.raises(PermissionDenied) as refused:
            decided(WAITING, Event.APPROVE, now=NOW, person=person)
        assert refused.value.reason == "SELF_APPROVAL_REFUSED"


def test_what_was_changed_meanwhile_is_not_approved() -> None:
    """The second person saw another difference than the one that would be made."""
    with pytest.raises(Aborted) as refused:
        decided(WAITING, Event.APPROVE, now=NOW, person="bea", unchanged=False)
    assert refused.value.reason == "ETAG_MISMATCH"


def test_an_approval_is_remembered_when_somebody_else_stops_the_rollout() -> None:
    """Revisions name who approved; the change names who decided last."""
    rolling = begun(
        decided(replace(WAITING, plan=PLAN), Event.APPROVE_ROLLOUT, now=NOW, person="bea"),
        now=NOW,
        revision=7,
    )
    stopped = decided(rolling, Event.STOP, now=NOW, person="cid", outcome="slow")
    assert (stopped.approver, stopped.decider, stopped.outcome) == ("bea", "cid", "slow")
    assert (stopped.state, stopped.staged_revision) == (State.REVERTED, 7)


def test_steps_wait_for_their_time_and_the_end_for_all_steps() -> None:
    """Nothing skips a bake time."""
    rolling = begun(replace(WAITING, plan=PLAN), now=NOW, revision=7)
    assert (rolling.share_percent, next_event(rolling)) == (10, Event.ADVANCE)
    with pytest.raises(Internal):
        advanced(rolling, now=NOW + timedelta(seconds=59))
    last = advanced(rolling, now=NOW + timedelta(minutes=5))
    assert (last.share_percent, next_event(last)) == (50, Event.COMPLETE)
    assert last.next_time == NOW + timedelta(minutes=6)
    with pytest.raises(Internal):
        completed(rolling, now=NOW + timedelta(minutes=5), revision=9)


@pytest.mark.parametrize("state", State)
def test_a_repeat_is_answered_and_a_contradiction_refused(state: State) -> None:
    """Retries are safe; approving what was rejected is not a retry."""
    change = replace(WAITING, state=state, plan=PLAN)
    assert already(change, change.approval) == (state in (State.APPLIED, State.ROLLING_OUT))
    assert already(change, Event.REJECT) == (state in (State.REJECTED, State.REVERTED))
    if state in FINAL:
        for event in Event:
            with pytest.raises(FailedPrecondition) as refused:
                require(change, event, now=NOW, person="bea")
            assert refused.value.reason == "INVALID_STATE"


def test_the_same_is_the_same_keys_values_and_steps() -> None:
    """true is not 1, a reset is no null, and other steps are another change."""
    assert WAITING.asks_for(replace(WAITING, id="other", actor="bea"))
    assert not WAITING.asks_for(replace(WAITING, plan=PLAN))
    for value in (None, Stored(None), Stored(5.5), Stored(True)):
        assert not WAITING.asks_for(replace(WAITING, items=(replace(ITEM, new=value),)))
    assert not WAITING.asks_for(replace(WAITING, items=(ITEM, replace(ITEM, key="bot_manager.a.c"))))
