"""Acknowledgements of instances, and what is known of them."""

from collections.abc import Iterable
from datetime import UTC, datetime

from services.configuration.convert.values import timestamp
from services.configuration.domain.guard import Rate
from services.configuration.domain.rollout import Acknowledgement, Instance, Refusal, State, state_of
from vivesphere.configuration.v1 import rollout_pb2, watch_service_pb2

_STATES = {
    State.CURRENT: rollout_pb2.INSTANCE_STATE_CURRENT,
    State.BEHIND: rollout_pb2.INSTANCE_STATE_BEHIND,
    State.REFUSED: rollout_pb2.INSTANCE_STATE_REFUSED,
    State.AWAY: rollout_pb2.INSTANCE_STATE_AWAY,
}


def to_acknowledgement(
    request: watch_service_pb2.AckRevisionRequest, service: str, history_id: str
) -> Acknowledgement:
    """What an instance of `service` says; `history_id` is the one taken when it names none."""
    return Acknowledgement(
        service=service,
        instance=request.instance,
        revision=request.revision,
        history_id=request.history_id or history_id,
        refusals=tuple(Refusal(item.key, item.reason) for item in request.refusals),
        restart_pending=tuple(request.restart_pending_keys),
    )


def to_counts(request: watch_service_pb2.ReportHealthRequest) -> tuple[datetime, Rate]:
    """Since when an instance counts, and its totals."""
    return request.count_time.ToDatetime(UTC), Rate(request.calls, request.failed_calls)


def from_instances(
    instances: Iterable[Instance], newest: int, now: datetime
) -> list[rollout_pb2.InstanceStatus]:
    """The instances, those that need attention first."""
    ordered = sorted(
        ((state_of(item, newest, now), item) for item in instances),
        key=lambda pair: (pair[0].value, pair[1].service, pair[1].instance),
    )
    return [_instance(item, state) for state, item in ordered]


def _instance(item: Instance, state: State) -> rollout_pb2.InstanceStatus:
    return rollout_pb2.InstanceStatus(
        service=item.service,
        instance=item.instance,
        applied_revision=item.applied_revision,
        refused_revision=item.refused_revision,
        refusals=[rollout_pb2.SettingRefusal(key=one.key, reason=one.reason) for one in item.refusals],
        state=_STATES[state],
        connect_time=timestamp(None if state is State.AWAY else item.connect_time),
        last_seen_time=timestamp(item.last_seen_time),
        restart_pending_keys=item.restart_pending,
    )
