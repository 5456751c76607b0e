"""What the use cases of schedules ask of the record. Each method is one transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.bot_manager.domain.listing import Page, Query
from services.bot_manager.domain.recurrence.model import Schedule
from services.bot_manager.store.ports import RequestKey


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule with what its occurrences say at the moment of reading."""

    schedule: Schedule
    next_occurrence_time: datetime | None
    """Nominal time of the next, decided or not; None if there is none, or unless it is ACTIVE."""
    last_occurrence_time: datetime | None
    """Nominal time of the last that made a post."""
    occurrence_count: int
    """Those whose nominal time has passed."""


@dataclass(frozen=True, slots=True)
class ScheduleChange:
    """A schedule as it becomes.

    `anew`: what is still to come is decided anew. `from_now`: what has passed and was not decided is left behind. `stops`: its posts
    that are due and were not claimed are called off, too.
    """

    schedule: Schedule
    anew: bool = False
    from_now: bool = False
    stops: bool = False


class ScheduleStore(Protocol):
    """Schedules, for callers. Times are as of `now`."""

    async def create(self, schedule: Schedule, key: RequestKey | None) -> ScheduleView:
        """Store a new schedule, or answer the one that the key made before. Raises InvalidArgument (IDEMPOTENCY_KEY_REUSED)."""
        ...

    async def recall(self, key: RequestKey, now: datetime) -> ScheduleView | None:
        """What the key stands for. Raises InvalidArgument (IDEMPOTENCY_KEY_REUSED), NotFound (SCHEDULE_NOT_FOUND) if it is deleted."""
        ...

    async def get(self, schedule_id: str, now: datetime) -> ScheduleView:
        """Raises NotFound (SCHEDULE_NOT_FOUND)."""
        ...

    async def list(self, query: Query, now: datetime) -> Page[ScheduleView]: ...

    async def change(
        self, schedule_id: str, edit: Callable[[ScheduleView], ScheduleChange], now: datetime, actor: str
    ) -> ScheduleView:
        """Replace the schedule by what `edit` says, under its lock; nothing is written if that is the same.

        Raises NotFound (SCHEDULE_NOT_FOUND) and what `edit` raises.
        """
        ...

    async def delete(
        self, schedule_id: str, check: Callable[[Schedule], None], now: datetime, actor: str
    ) -> None:
        """Delete it and cancel its posts that are still SCHEDULED. Raises NotFound (SCHEDULE_NOT_FOUND) and what `check` raises."""
        ...
