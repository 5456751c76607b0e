"""Rows of `schedules` and `occurrences` ↔ the domain's objects."""

from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row

from services.bot_manager.domain.recurrence.model import (
    MisfirePolicy,
    Notation,
    Occurrence,
    Recurrence,
    Schedule,
    ScheduleState,
)


def schedule_values(schedule: Schedule) -> dict[str, Any]:
    """All columns of `schedules` except `retry_time`."""
    return {
        "id": schedule.id,
        "bot_id": schedule.bot_id,
        "notation": schedule.recurrence.notation.value,
        "rule": schedule.recurrence.text,
        "time_zone": schedule.time_zone,
        "start_time": schedule.start_time,
        "end_time": schedule.end_time,
        "max_occurrences": schedule.max_occurrences,
        "jitter": schedule.jitter,
        "misfire_policy": schedule.misfire_policy.value,
        "max_catch_up": schedule.max_catch_up,
        "misfire_grace": schedule.misfire_grace,
        "exclusions": list(schedule.exclusions),
        "blackout_windows": [dict(window) for window in schedule.blackout_windows],
        "content": dict(schedule.content),
        "state": schedule.state.value,
        "display_name": schedule.display_name,
        "creator": schedule.creator,
        "occurrence_count": schedule.occurrence_count,
        "cursor": schedule.cursor,
        "next_time": schedule.next_time,
        "last_skip_message": schedule.last_skip_message,
        "version": schedule.version,
        "create_time": schedule.create_time,
        "update_time": schedule.update_time,
    }


def to_schedule(row: Row[Any]) -> Schedule:
    """A row of `schedules`."""
    return Schedule(
        id=row.id,
        bot_id=row.bot_id,
        recurrence=Recurrence(Notation(row.notation), row.rule),
        time_zone=row.time_zone,
        start_time=row.start_time,
        end_time=row.end_time,
        max_occurrences=row.max_occurrences,
        jitter=row.jitter,
        misfire_policy=MisfirePolicy(row.misfire_policy),
        max_catch_up=row.max_catch_up,
        misfire_grace=row.misfire_grace,
        exclusions=tuple(row.exclusions),
        blackout_windows=tuple(row.blackout_windows),
        content=row.content,
        state=ScheduleState(row.state),
        display_name=row.display_name,
        creator=row.creator,
        occurrence_count=row.occurrence_count,
        cursor=row.cursor,
        next_time=row.next_time,
        last_skip_message=row.last_skip_message,
        version=row.version,
        create_time=row.create_time,
        update_time=row.update_time,
    )


def to_occurrence(row: Row[Any]) -> Occurrence:
    """A row of `occurrences`."""
    return Occurrence(
        wall_time=row.wall_time,
        nominal_time=row.nominal_time,
        scheduled_time=row.scheduled_time,
        local_time=row.nominal_time.astimezone(ZoneInfo(row.time_zone)),
        skip_message=row.skip_message,
    )
