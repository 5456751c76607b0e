"""Schedules and occurrences."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict

from services.bot_manager.convert.common import from_time, time_field, to_document
from services.bot_manager.convert.masks import merge, paths_of
from services.bot_manager.domain.recurrence.model import (
    Adjustment,
    MisfirePolicy,
    Notation,
    Occurrence,
    Recurrence,
    ScheduleState,
)
from services.bot_manager.domain.schedules import ScheduleDraft
from services.bot_manager.domain.versions import etag_of
from services.bot_manager.store.schedule_ports import ScheduleView
from vivesphere.bot_manager.v1 import content_pb2, schedule_pb2, wall_time_pb2

CHANGEABLE: Final = (
    "recurrence",
    "time_zone",
    "start_time",
    "end_time",
    "max_occurrences",
    "jitter",
    "misfire_policy",
    "content",
    "state",
    "display_name",
    "max_catch_up",
    "misfire_grace",
    "exclusions",
    "blackout_windows",
)
_POLICIES: Final[Mapping[int, MisfirePolicy]] = {
    schedule_pb2.MISFIRE_POLICY_ONCE: MisfirePolicy.ONCE,
    schedule_pb2.MISFIRE_POLICY_CATCH_UP: MisfirePolicy.CATCH_UP,
}
_STATES: Final[Mapping[int, ScheduleState]] = {
    schedule_pb2.SCHEDULE_STATE_ACTIVE: ScheduleState.ACTIVE,
    schedule_pb2.SCHEDULE_STATE_PAUSED: ScheduleState.PAUSED,
}
"""What people may set; any other value says nothing."""


def to_draft(schedule: schedule_pb2.Schedule) -> ScheduleDraft:
    """A schedule as somebody described it."""
    rule = schedule.recurrence.WhichOneof("rule")
    has_content = schedule.content.WhichOneof("source") is not None
    return ScheduleDraft(
        bot_id=schedule.bot_id.lower(),
        recurrence=Recurrence(Notation(rule), getattr(schedule.recurrence, rule)) if rule else None,
        time_zone=schedule.time_zone,
        start_time=time_field(schedule, "start_time"),
        end_time=time_field(schedule, "end_time"),
        max_occurrences=schedule.max_occurrences,
        jitter=schedule.jitter.ToTimedelta(),
        misfire_policy=_POLICIES.get(schedule.misfire_policy, MisfirePolicy.SKIP),
        max_catch_up=schedule.max_catch_up,
        misfire_grace=schedule.misfire_grace.ToTimedelta() if schedule.HasField("misfire_grace") else None,
        exclusions=tuple(schedule.exclusions),
        blackout_windows=tuple(to_document(window) for window in schedule.blackout_windows),
        content=to_document(schedule.content) if has_content else None,
        state=_STATES.get(schedule.state),
        display_name=schedule.display_name,
    )


def to_changed_draft(
    view: ScheduleView, given: schedule_pb2.Schedule, mask: FieldMask | None = None
) -> ScheduleDraft:
    """What a schedule shall be after an update. Raises InvalidArgument (UNKNOWN_FIELD)."""
    paths = _whole(paths_of(given, mask or FieldMask(), CHANGEABLE))
    merged = merge(from_schedule(view), given, paths)
    merged.bot_id = given.bot_id or merged.bot_id
    return to_draft(merged)


def _whole(paths: Sequence[str]) -> list[str]:
    """`recurrence` and `content` are replaced whole, whatever is named inside them."""
    return list(dict.fromkeys(path.split(".")[0] for path in paths))


def from_schedule(view: ScheduleView) -> schedule_pb2.Schedule:
    """The contract's Schedule."""
    schedule = view.schedule
    recurrence = schedule.recurrence
    return schedule_pb2.Schedule(
        id=schedule.id,
        bot_id=schedule.bot_id,
        recurrence=schedule_pb2.Recurrence(**{recurrence.notation.value: recurrence.text}),
        time_zone=schedule.time_zone,
        start_time=from_time(schedule.start_time),
        end_time=from_time(schedule.end_time),
        max_occurrences=schedule.max_occurrences,
        jitter=_from_duration(schedule.jitter) if schedule.jitter else None,
        misfire_policy=schedule_pb2.MisfirePolicy.Value(f"MISFIRE_POLICY_{schedule.misfire_policy}"),
        content=ParseDict(dict(schedule.content), content_pb2.ScheduleContent(), ignore_unknown_fields=True),
        state=schedule_pb2.ScheduleState.Value(f"SCHEDULE_STATE_{schedule.state}"),
        etag=etag_of(schedule.version),
        display_name=schedule.display_name,
        max_catch_up=schedule.max_catch_up,
        misfire_grace=None if schedule.misfire_grace is None else _from_duration(schedule.misfire_grace),
        exclusions=schedule.exclusions,
        blackout_windows=[
            ParseDict(dict(window), wall_time_pb2.BlackoutWindow(), ignore_unknown_fields=True)
            for window in schedule.blackout_windows
        ],
        next_occurrence_time=from_time(view.next_occurrence_time),
        last_occurrence_time=from_time(view.last_occurrence_time),
        occurrence_count=view.occurrence_count,
        create_time=from_time(schedule.create_time),
        update_time=from_time(schedule.update_time),
        creator=schedule.creator,
        last_skip_message=schedule.last_skip_message,
    )


def from_occurrence(occurrence: Occurrence) -> schedule_pb2.Occurrence:
    """The contract's Occurrence."""
    adjustment: Adjustment = occurrence.adjustment
    return schedule_pb2.Occurrence(
        nominal_time=from_time(occurrence.nominal_time),
        scheduled_time=from_time(occurrence.scheduled_time),
        local_time=occurrence.local_time.isoformat(timespec="seconds"),
        adjustment=schedule_pb2.TimeAdjustment.Value(f"TIME_ADJUSTMENT_{adjustment}"),
        skip_message=occurrence.skip_message,
    )


def _from_duration(length: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(length)
    return duration
