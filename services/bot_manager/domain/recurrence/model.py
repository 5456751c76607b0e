"""Schedules and their occurrences.

All immutable. Instants are aware and in UTC; a wall time is a naive datetime on the schedule's clock. Names of enum members are those
of the contract without their prefix.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.bot_manager.domain.model import Document

FRESH_SOURCES: Final = frozenset({"feed", "queue"})
"""Kinds of content that are taken shortly before the occurrence and not a horizon ahead: what they hold changes meanwhile."""


class Notation(StrEnum):
    """How a rule is written; see the contract's Recurrence."""

    RRULE = "rrule"
    CRON = "cron"


class ScheduleState(StrEnum):
    """See the contract's ScheduleState."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"


class MisfirePolicy(StrEnum):
    """See the contract's MisfirePolicy."""

    SKIP = "SKIP"
    ONCE = "ONCE"
    CATCH_UP = "CATCH_UP"


class Adjustment(StrEnum):
    """What a change of the clocks did to a wall time; see the contract's TimeAdjustment."""

    NONE = "UNSPECIFIED"
    GAP_MOVED = "GAP_MOVED"
    OVERLAP_FIRST = "OVERLAP_FIRST"


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A rule as somebody wrote it."""

    notation: Notation
    text: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """A rule that makes posts of one bot. `content` is the contract's ScheduleContent in ProtoJSON."""

    id: str
    bot_id: str
    recurrence: Recurrence
    time_zone: str
    start_time: datetime
    content: Document
    create_time: datetime
    update_time: datetime
    state: ScheduleState = ScheduleState.ACTIVE
    version: int = 1
    end_time: datetime | None = None
    """No occurrence from then on."""
    max_occurrences: int = 0
    """0: no bound."""
    jitter: timedelta = timedelta()
    misfire_policy: MisfirePolicy = MisfirePolicy.SKIP
    max_catch_up: int = 0
    misfire_grace: timedelta | None = None
    """As somebody gave it; None for the setting's."""
    exclusions: tuple[str, ...] = ()
    blackout_windows: tuple[Document, ...] = ()
    display_name: str = ""
    creator: str = ""
    occurrence_count: int = 0
    """Occurrences decided so far, skipped ones counted."""
    cursor: datetime | None = None
    """Wall time up to which occurrences were decided; None: from `start_time` on."""
    next_time: datetime | None = None
    """Nominal time of the first occurrence after the cursor; None if there is none, or unless ACTIVE."""
    last_skip_message: str = ""

    @property
    def source(self) -> str:
        """The kind of its content: `text`, `post`, `pool`, `feed` or `queue`."""
        return next(iter(self.content), "")

    @property
    def is_fresh(self) -> bool:
        """Whether its content is taken shortly before the occurrence."""
        return self.source in FRESH_SOURCES


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time at which a schedule makes a post.

    `wall_time`, as the rule says it, is what it is known by: it stays when the zone's rules change, and the instants follow.
    """

    wall_time: datetime
    nominal_time: datetime
    """Before jitter."""
    scheduled_time: datetime
    """After jitter."""
    local_time: datetime
    """`nominal_time` on the schedule's clock, aware."""
    adjustment: Adjustment = Adjustment.NONE
    skip_message: str = ""
    """Why it makes no post, in a sentence; empty if it does."""
