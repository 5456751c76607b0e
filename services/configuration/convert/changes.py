"""Changes on their way and the plans of their roll-outs."""

from collections.abc import Iterable
from datetime import timedelta

from google.protobuf import duration_pb2

from services.configuration.convert.settings import from_differences
from services.configuration.convert.values import timestamp
from services.configuration.domain.comparison import Difference
from services.configuration.domain.pending import PendingChange, State
from services.configuration.domain.rollout_plan import Guard, RolloutPlan
from services.configuration.domain.setting import Setting, Wish
from services.configuration.domain.values import same
from vivesphere.configuration.v1 import setting_change_pb2 as pb
from vivesphere.configuration.v1 import settings_service_pb2

DEFAULT_MIN_CALLS = 100
"""What 0 in RolloutGuard.min_calls means (contract)."""

_STATES = {
    State.PENDING_APPROVAL: pb.SETTING_CHANGE_STATE_PENDING_APPROVAL,
    State.ROLLING_OUT: pb.SETTING_CHANGE_STATE_ROLLING_OUT,
    State.APPLIED: pb.SETTING_CHANGE_STATE_APPLIED,
    State.REJECTED: pb.SETTING_CHANGE_STATE_REJECTED,
    State.REVERTED: pb.SETTING_CHANGE_STATE_REVERTED,
}


def to_state(state: int) -> State | None:
    """The state to select, None for any."""
    return next((known for known, number in _STATES.items() if number == state), None)


def to_plan(
    request: settings_service_pb2.UpdateSettingRequest | settings_service_pb2.BatchUpdateSettingsRequest,
) -> RolloutPlan | None:
    """The steps that a request asks for, None for all at once."""
    if not request.HasField("plan"):
        return None
    plan = request.plan
    guard = plan.guard
    return RolloutPlan(
        steps_percent=tuple(plan.steps_percent),
        bake_time=plan.bake_time.ToTimedelta(),
        guard=Guard(guard.max_error_rate, guard.service, guard.min_calls or DEFAULT_MIN_CALLS)
        if plan.HasField("guard")
        else None,
    )


def from_plan(plan: RolloutPlan) -> pb.RolloutPlan:
    """The plan as it was asked for; an unset number of calls as what it means."""
    guard = plan.guard
    return pb.RolloutPlan(
        steps_percent=plan.steps_percent,
        bake_time=_duration(plan.bake_time),
        guard=pb.RolloutGuard(
            max_error_rate=guard.max_error_rate, service=guard.service, min_calls=guard.min_calls
        )
        if guard
        else None,
    )


def from_pending(change: PendingChange, hidden: frozenset[str] = frozenset()) -> pb.SettingChange:
    """The change as people see it; values of `hidden` keys are left out."""
    return pb.SettingChange(
        id=change.id,
        state=_STATES[change.state],
        diffs=from_differences((Difference(item.key, item.old, item.new) for item in change.items), hidden),
        actor=change.actor,
        decider=change.decider,
        comment=change.comment,
        outcome=change.outcome,
        plan=from_plan(change.plan) if change.plan else None,
        share_percent=change.share_percent,
        revision=change.revision,
        create_time=timestamp(change.create_time),
        update_time=timestamp(change.update_time),
        expire_time=timestamp(change.expire_time),
    )


def pending_id(results: Iterable[tuple[Wish, Setting]]) -> str:
    """The change that wishes became part of; empty if all of them are in force."""
    waiting = (
        setting.pending_change_id for wish, setting in results if not same(wish.stored, setting.stored)
    )
    return next(waiting, "")


def _duration(time: timedelta) -> duration_pb2.Duration:
    message = duration_pb2.Duration()
    message.FromTimedelta(time)
    return message
