"""The life of a change that is not in force at once: a table, and the steps it allows. Nothing here reads a clock or a database.

    PENDING_APPROVAL ── approve ──▶ APPLIED, or ROLLING_OUT if there is a plan
            │ reject, expire
            ▼
        REJECTED
    ROLLING_OUT ── advance ──▶ ROLLING_OUT ── complete ──▶ APPLIED
            │ stop (a person), refuse (an instance), trip (the guard), break (a definition)
            ▼
        REVERTED

APPLIED, REJECTED and REVERTED are final. Asking again for what was done already is no event: `already` says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from mesh.errors import Aborted, FailedPrecondition, Internal, PermissionDenied
from services.configuration.domain.changes import Author, Cause
from services.configuration.domain.rollout_plan import RolloutPlan
from services.configuration.domain.values import Stored, same

EVERYONE = 100


class State(StrEnum):
    """Where a change is on its way. Texts are stored; never rename one."""

    PENDING_APPROVAL = "pending_approval"
    ROLLING_OUT = "rolling_out"
    APPLIED = "applied"
    REJECTED = "rejected"
    REVERTED = "reverted"


class Event(StrEnum):
    """What can happen to a change."""

    APPROVE = "approve"
    APPROVE_ROLLOUT = "approve_rollout"
    REJECT = "reject"
    EXPIRE = "expire"
    ADVANCE = "advance"
    COMPLETE = "complete"
    STOP = "stop"
    REFUSE = "refuse"
    TRIP = "trip"
    BREAK = "break"


class Need(StrEnum):
    """What an event requires besides the state."""

    OTHER_PERSON = "other_person"
    """Who decides is not who asked."""
    UNCHANGED = "unchanged"
    """The settings are as they were when the change was asked for."""
    NO_PLAN = "no_plan"
    PLAN = "plan"
    DUE = "due"
    """The time that the change waits for has come."""
    STEPS_LEFT = "steps_left"
    ALL_STEPS_TAKEN = "all_steps_taken"


@dataclass(frozen=True, slots=True)
class Transition:
    """Where an event leads and what it requires."""

    to: State
    needs: frozenset[Need] = frozenset()


_APPROVAL = frozenset({Need.OTHER_PERSON, Need.UNCHANGED})

LIFE: Mapping[tuple[State, Event], Transition] = {
    (State.PENDING_APPROVAL, Event.APPROVE): Transition(State.APPLIED, _APPROVAL | {Need.NO_PLAN}),
    (State.PENDING_APPROVAL, Event.APPROVE_ROLLOUT): Transition(State.ROLLING_OUT, _APPROVAL | {Need.PLAN}),
    (State.PENDING_APPROVAL, Event.REJECT): Transition(State.REJECTED),
    (State.PENDING_APPROVAL, Event.EXPIRE): Transition(State.REJECTED, frozenset({Need.DUE})),
    (State.ROLLING_OUT, Event.ADVANCE): Transition(State.ROLLING_OUT, frozenset({Need.DUE, Need.STEPS_LEFT})),
    (State.ROLLING_OUT, Event.COMPLETE): Transition(
        State.APPLIED, frozenset({Need.DUE, Need.ALL_STEPS_TAKEN})
    ),
    (State.ROLLING_OUT, Event.STOP): Transition(State.REVERTED),
    (State.ROLLING_OUT, Event.REFUSE): Transition(State.REVERTED),
    (State.ROLLING_OUT, Event.TRIP): Transition(State.REVERTED),
    (State.ROLLING_OUT, Event.BREAK): Transition(State.REVERTED),
}

FINAL = frozenset(State) - {state for state, _ in LIFE}


@dataclass(frozen=True, slots=True)
class Item:
    """One setting's part in a change."""

    key: str
    old: Stored | None
    new: Stored | None
    cause: Cause
    base_revision: int
    """Revision in which the setting had been changed last when the change was asked for."""


@dataclass(frozen=True, slots=True)
class PendingChange:
    """A change on its way. See SettingChange in the contract for each field."""

    id: str
    state: State
    items: tuple[Item, ...]
    actor: str
    comment: str
    create_time: datetime
    update_time: datetime
    plan: RolloutPlan | None = None
    approver: str = ""
    decider: str = ""
    outcome: str = ""
    steps_taken: int = 0
    share_percent: int = 0
    revision: int = 0
    staged_revision: int = 0
    """First revision that staged its values; 0 before."""
    expire_time: datetime | None = None
    next_time: datetime | None = None
    """When it goes on by itself: it expires, or its step has been watched. None: never."""

    @property
    def author(self) -> Author:
        """Who its revisions are by."""
        return Author(self.actor, self.comment, self.approver)

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings concerned."""
        return tuple(item.key for item in self.items)

    @property
    def steps_left(self) -> tuple[int, ...]:
        """Shares still to be reached before everyone."""
        return self.plan.steps_percent[self.steps_taken :] if self.plan else ()

    @property
    def approval(self) -> Event:
        """What approving it is."""
        return Event.APPROVE if self.plan is None else Event.APPROVE_ROLLOUT

    def asks_for(self, other: "PendingChange") -> bool:
        """Whether both want the same in the same steps."""
        if self.plan != other.plan or sorted(self.keys) != sorted(other.keys):
            return False
        wanted = {item.key: item.new for item in other.items}
        return all(same(item.new, wanted[item.key]) for item in self.items)


def already(change: PendingChange, event: Event) -> bool:
    """Whether what a person asks for was done before, so that a retry is safe."""
    if event in (Event.APPROVE, Event.APPROVE_ROLLOUT):
        return change.state in (State.APPLIED, State.ROLLING_OUT)
    return event in (Event.REJECT, Event.STOP) and change.state in (State.REJECTED, State.REVERTED)


def require(
    change: PendingChange, event: Event, *, now: datetime, person: str = "", unchanged: bool = True
) -> State:
    """Where the event leads. Raises FailedPrecondition, PermissionDenied or Aborted for what is missing, in this order."""
    transition = LIFE.get((change.state, event))
    if transition is None:
        raise FailedPrecondition(
            "INVALID_STATE",
            f"the change is {change.state.value.replace('_', ' ')}"
            + ("; roll its settings back" if change.state is State.APPLIED else ""),
            metadata={"state": change.state.name},
        )
    for need in Need:
        if need in transition.needs and not _met(need, change, now, person, unchanged):
            _refuse(need, event)
    return transition.to


def decided(
    change: PendingChange,
    event: Event,
    *,
    now: datetime,
    person: str,
    unchanged: bool = True,
    outcome: str = "",
) -> PendingChange:
    """What a person's decision makes of it."""
    state = require(change, event, now=now, person=person, unchanged=unchanged)
    approves = event is change.approval
    return replace(
        _closed_if_final(change, state),
        approver=person if approves else change.approver,
        decider=person,
        outcome=outcome,
        update_time=now,
        expire_time=None,
    )


def expired(change: PendingChange, *, now: datetime) -> PendingChange:
    """Nobody decided in time."""
    state = require(change, Event.EXPIRE, now=now)
    return replace(
        _closed_if_final(change, state),
        outcome="nobody approved it in time",
        update_time=now,
        expire_time=None,
    )


def begun(change: PendingChange, *, now: datetime, revision: int) -> PendingChange:
    """The first step, made by `revision`: without an approval, or just after it."""
    return _at_share(replace(change, state=State.ROLLING_OUT, staged_revision=revision), now)


def advanced(change: PendingChange, *, now: datetime) -> PendingChange:
    """The next step."""
    require(change, Event.ADVANCE, now=now)
    return _at_share(change, now)


def completed(change: PendingChange, *, now: datetime, revision: int) -> PendingChange:
    """In force everywhere by `revision`."""
    state = require(change, Event.COMPLETE, now=now)
    return replace(_closed_if_final(change, state), revision=revision, update_time=now)


def reverted(change: PendingChange, event: Event, *, now: datetime, outcome: str) -> PendingChange:
    """Taken back by itself."""
    state = require(change, event, now=now)
    return replace(_closed_if_final(change, state), outcome=outcome, update_time=now)


def next_event(change: PendingChange) -> Event:
    """What comes of it when its time has come."""
    if change.state is State.PENDING_APPROVAL:
        return Event.EXPIRE
    return Event.ADVANCE if change.steps_left else Event.COMPLETE


def _at_share(change: PendingChange, now: datetime) -> PendingChange:
    bake_time = change.plan.bake_time if change.plan else timedelta()
    return replace(
        change,
        share_percent=change.steps_left[0],
        steps_taken=change.steps_taken + 1,
        update_time=now,
        next_time=now + bake_time,
    )


def _closed_if_final(change: PendingChange, state: State) -> PendingChange:
    if state not in FINAL:
        return replace(change, state=state)
    share = EVERYONE if state is State.APPLIED else 0
    return replace(change, state=state, share_percent=share, next_time=None)


def _met(need: Need, change: PendingChange, now: datetime, person: str, unchanged: bool) -> bool:
    match need:
        case Need.OTHER_PERSON:
            return bool(person) and person != change.actor
        case Need.UNCHANGED:
            return unchanged
        case Need.NO_PLAN:
            return change.plan is None
        case Need.PLAN:
            return change.plan is not None
        case Need.DUE:
            return change.next_time is not None and change.next_time <= now
        case Need.STEPS_LEFT:
            return bool(change.steps_left)
        case Need.ALL_STEPS_TAKEN:
            return not change.steps_left


def _refuse(need: Need, event: Event) -> None:
    if need is Need.OTHER_PERSON:
        raise PermissionDenied(
            "SELF_APPROVAL_REFUSED", "a change is approved by another person than the one who asked"
        )
    if need is Need.UNCHANGED:
        raise Aborted("ETAG_MISMATCH", "a setting was changed since the change was asked for; ask again")
    raise Internal("INTERNAL", f"this is a bug: {event.value} without {need.value}")
