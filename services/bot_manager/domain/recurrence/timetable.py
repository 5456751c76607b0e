"""When a schedule recurs: its rule on the wall clock, resolved to instants, bounded, with exclusions, jitter and black-out windows.

What the bot's windows add is an argument. How many occurrences there may be is the caller's to count: an occurrence skipped here
counts, an excluded wall time is none.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from mesh.errors import InvalidArgument
from services.bot_manager.domain.model import Document
from services.bot_manager.domain.recurrence.expansion import walls
from services.bot_manager.domain.recurrence.model import Notation, Occurrence, Recurrence, Schedule
from services.bot_manager.domain.recurrence.rrule import RuleError, parse_rrule
from services.bot_manager.domain.recurrence.wallclock import resolve, wall_of, zone_of
from services.bot_manager.domain.windows import silent_until

SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Silence:
    """Black-out windows with the zone whose clock they are read on, and whose they are: "bot" or "schedule"."""

    windows: Sequence[Document]
    zone: ZoneInfo
    owner: str = "bot"


class Timetable:
    """The occurrences of one schedule. Raises InvalidArgument (INVALID_FIELD) for a rule or zone that cannot be read."""

    def __init__(self, schedule: Schedule, *silences: Silence) -> None:
        self.zone = zone_of(schedule.time_zone, "schedule.time_zone")
        self._schedule = schedule
        own = Silence(schedule.blackout_windows, self.zone, "schedule")
        self._silences = [one for one in (own, *silences) if one.windows]
        # Whole seconds, as rules have; a start within one means the next.
        start = schedule.start_time
        self._start = start.replace(microsecond=0) + (SECOND if start.microsecond else timedelta())
        self._excluded = frozenset(schedule.exclusions)
        check(schedule.recurrence)

    def occurrences(self, after: datetime | None = None) -> Iterator[Occurrence]:
        """Those with a wall time later than `after`, earliest first. Wall times that fall on the same instant are one occurrence."""
        last = None
        for wall in self._walls(after):
            found = resolve(wall, self.zone)
            if found.instant < self._start or found.instant == last or self._is_excluded(wall):
                continue
            if self._has_ended(found.instant):
                return
            last = found.instant
            scheduled = found.instant + jitter(self._schedule, found.instant)
            yield Occurrence(
                wall_time=wall,
                nominal_time=found.instant,
                scheduled_time=scheduled,
                local_time=found.instant.astimezone(self.zone),
                adjustment=found.adjustment,
                skip_message=self._silence_at(found.instant) or self._silence_at(scheduled),
            )

    def beginning(self, moment: datetime) -> Iterator[Occurrence]:
        """Those with a nominal time from `moment` on, earliest first."""
        before = wall_of(moment - SECOND, self.zone)
        return (found for found in self.occurrences(before) if found.nominal_time >= moment)

    def _walls(self, after: datetime | None) -> Iterator[datetime]:
        recurrence, start = self._schedule.recurrence, wall_of(self._start, self.zone)
        if recurrence.notation is Notation.RRULE:
            return walls(parse_rrule(recurrence.text), start, after)
        # cronsim never answers the moment that it is given.
        return CronSim(recurrence.text, start - SECOND if after is None else max(start - SECOND, after))

    def _has_ended(self, instant: datetime) -> bool:
        end = self._schedule.end_time
        if end is not None and instant >= end:
            return True
        if self._schedule.recurrence.notation is not Notation.RRULE:
            return False
        until = parse_rrule(self._schedule.recurrence.text).until
        return until is not None and until.tzinfo is not None and instant > until

    def _is_excluded(self, wall: datetime) -> bool:
        if not self._excluded:
            return False
        return f"{wall:%Y-%m-%d}" in self._excluded or f"{wall:%Y-%m-%dT%H:%M}" in self._excluded

    def _silence_at(self, moment: datetime) -> str:
        for silence in self._silences:
            if silent_until(silence.windows, silence.zone, moment) is not None:
                return f"a black-out window of the {silence.owner} covers it"
        return ""


def jitter(schedule: Schedule, nominal: datetime) -> timedelta:
    """How much later the post goes out, in whole seconds; the same for the same schedule and nominal time."""
    if not schedule.jitter:
        return timedelta()
    return timedelta(seconds=draw(schedule.id, nominal, "jitter", int(schedule.jitter.total_seconds()) + 1))


def draw(schedule_id: str, nominal: datetime, what: str, sides: int) -> int:
    """A number from 0 to `sides` - 1 that schedule and nominal time decide."""
    told = f"{what} {schedule_id} {nominal.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:8]) % sides


def check(recurrence: Recurrence) -> None:
    """Raises InvalidArgument (INVALID_FIELD) for a rule that cannot be read."""
    try:
        if recurrence.notation is Notation.RRULE:
            parse_rrule(recurrence.text)
        else:
            CronSim(recurrence.text, datetime(2000, 1, 1))  # noqa: DTZ001 - on the wall clock
    except (RuleError, CronSimError) as error:
        field = f"schedule.recurrence.{recurrence.notation}"
        raise InvalidArgument("INVALID_FIELD", str(error), field=field) from None


def first(schedule: Schedule, *silences: Silence) -> Occurrence | None:
    """The first occurrence after the schedule's cursor; None if there is none, or its bound is reached."""
    if schedule.max_occurrences and schedule.occurrence_count >= schedule.max_occurrences:
        return None
    return next(Timetable(schedule, *silences).occurrences(schedule.cursor), None)


def moved_to(schedule: Schedule, moment: datetime) -> Schedule:
    """The schedule with its cursor where the next occurrence is the first after `moment`."""
    cursor = wall_of(moment, zone_of(schedule.time_zone, "schedule.time_zone"))
    for found in Timetable(schedule).occurrences(cursor):
        if found.nominal_time > moment:
            break
        cursor = found.wall_time  # in the hour that comes twice, the second time
    return replace(schedule, cursor=cursor)
