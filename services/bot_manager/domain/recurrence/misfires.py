"""What becomes of occurrences whose time has come near, or has passed: on time, made up for, or skipped."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.bot_manager.domain.recurrence.model import MisfirePolicy, Occurrence, Schedule

TOO_LATE: Final = "its time passed while the product or the bot was stopped"


@dataclass(frozen=True, slots=True)
class Decision:
    """Of one occurrence: its post goes out `at`, or it is skipped where that is None, because of `skip_message`."""

    occurrence: Occurrence
    at: datetime | None
    skip_message: str = ""


def most_made_up(schedule: Schedule) -> int:
    """How many late occurrences get a post after all."""
    match schedule.misfire_policy:
        case MisfirePolicy.SKIP:
            return 0
        case MisfirePolicy.ONCE:
            return 1
        case MisfirePolicy.CATCH_UP:
            return max(schedule.max_catch_up, 1)


def decide(
    schedule: Schedule,
    occurrences: Sequence[Occurrence],
    now: datetime,
    grace: timedelta,
    apart: timedelta,
    *,
    more: bool = False,
) -> Sequence[Decision]:
    """Decisions on a beginning of the occurrences, which come in the order of their times; on one at least, if there are any.

    Late is what should have gone out longer than `grace` ago. What is made up for goes out from now on, `apart` from each other, the
    oldest first. `more`: there are further ones, as late as the last of these; the latest are then left for the next time.
    """
    late = [one for one in occurrences if is_late(one, now, grace) and not one.skip_message]
    most = most_made_up(schedule)
    chosen = late[-most:] if most else []
    if more and chosen:
        place = occurrences.index(chosen[0])
        occurrences, chosen = occurrences[: max(place, 1)], []
    times = {one.wall_time: now + apart * place for place, one in enumerate(chosen)}
    return [_decision(one, times.get(one.wall_time), now, grace) for one in occurrences]


def is_late(occurrence: Occurrence, now: datetime, grace: timedelta) -> bool:
    """Whether its time has passed for longer than the grace."""
    return occurrence.scheduled_time + grace < now


def _decision(one: Occurrence, chosen: datetime | None, now: datetime, grace: timedelta) -> Decision:
    if one.skip_message:
        return Decision(one, None, one.skip_message)
    if is_late(one, now, grace):
        return Decision(one, chosen, "" if chosen else TOO_LATE)
    return Decision(one, max(one.scheduled_time, now))
