"""What people hear of occurrences that made no post."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from services.bot_manager.domain.happenings import Happening, occurrence_skipped
from services.bot_manager.domain.recurrence.model import Occurrence, Schedule

ONE_BY_ONE: Final = 5
"""Told each for itself; of more at once, as after a long stop or in a silent night, only how many they are."""


def told_of(schedule: Schedule, skipped: Sequence[Occurrence]) -> list[Happening]:
    """Those that one expansion has decided, in their order; few events, however many they are."""
    if len(skipped) <= ONE_BY_ONE:
        messages = [f"no post for {_text(schedule, one.local_time)}: {one.skip_message}" for one in skipped]
    else:
        first, last = skipped[0], skipped[-1]
        messages = [
            f"no post for {len(skipped)} times from {_text(schedule, first.local_time)} "
            f"to {_text(schedule, last.local_time)}; of the last: {last.skip_message}"
        ]
    return [occurrence_skipped(schedule.bot_id, schedule.id, message) for message in messages]


def _text(schedule: Schedule, time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} {schedule.time_zone}"
