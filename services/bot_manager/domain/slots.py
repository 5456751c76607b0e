"""The next free slot of a bot: the first moment of its slots at which a post more may go out.

Free is a slot at which no other post of the bot is, or was, to go out, that is not inside a black-out window, and that keeps the bot's
pace. Posts that failed, were missed or called off have given theirs back; none of them is ever touched.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import accumulate
from typing import Final, Protocol

from mesh.errors import FailedPrecondition
from services.bot_manager.domain.model import Bot, Document
from services.bot_manager.domain.pacing import Pace
from services.bot_manager.domain.recurrence.wallclock import resolve, wall_of
from services.bot_manager.domain.windows import ONE_DAY, on_day, silent_until, time_of_day

DAYS_AHEAD: Final = 366
MARGIN: Final = timedelta(days=2)
"""How far back posts matter: longer than any interval, and than a day of 25 hours."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A post of the bot: when it is to go out, or went out, and how many parts it has."""

    time: datetime
    parts: int = 1


class SlotStore(Protocol):
    """The posts that take slots."""

    async def taken(self, bot_id: str, since: datetime) -> Sequence[Taken]:
        """Posts of the bot that wait for a time from `since` on, are under way or unsettled, or went out since; in no order."""
        ...


class SlotFinder:
    """See the module. What it finds may be taken a moment later: `PostStore.create` decides."""

    def __init__(self, store: SlotStore) -> None:
        self._store = store

    async def next_free(self, bot: Bot, now: datetime, parts: int = 1) -> datetime:
        """The next free slot for a post of so many parts, UTC. Raises FailedPrecondition (NO_FREE_SLOT)."""
        return next_free(bot, now, await self._store.taken(bot.id, now - MARGIN), parts)


def next_free(bot: Bot, now: datetime, taken: Sequence[Taken], parts: int = 1) -> datetime:
    """The first free slot after `now`. Raises FailedPrecondition (NO_FREE_SLOT)."""
    pace, diary = Pace.of(bot), Diary(taken)
    silent = now
    for moment in _moments(bot.slots, pace, now):
        if moment < silent or not diary.has_room(pace, moment, parts):
            continue
        silent = silent_until(pace.windows, pace.zone, moment) or silent
        if moment >= silent:
            return moment
    if not bot.slots:
        raise FailedPrecondition("NO_FREE_SLOT", "the bot has no slots", field="next_free_slot")
    told = f"all slots of the next {DAYS_AHEAD} days are taken or inside black-out windows"
    raise FailedPrecondition("NO_FREE_SLOT", told, field="next_free_slot")


class Diary:
    """The posts that take slots, in order."""

    def __init__(self, taken: Sequence[Taken]) -> None:
        ordered = sorted(taken, key=lambda one: one.time)
        self._times = [one.time for one in ordered]
        self._parts = [0, *accumulate(one.parts for one in ordered)]

    def has_room(self, pace: Pace, moment: datetime, parts: int) -> bool:
        """Whether a post of so many parts may go out at a moment, as far as these posts go."""
        place = bisect_left(self._times, moment)
        for other in self._times[max(place - 1, 0) : place + 1]:
            if other == moment or abs(other - moment) < pace.interval:
                return False
        if not pace.a_day:
            return True
        first, after = (bisect_left(self._times, midnight) for midnight in pace.day_of(moment))
        return pace.fits_day(self._parts[after] - self._parts[first], parts)


def _moments(slots: Sequence[Document], pace: Pace, now: datetime) -> Iterator[datetime]:
    """The bot's slots after `now`, earliest first, each once."""
    today = wall_of(now, pace.zone).date()
    last = now
    for ahead in range(DAYS_AHEAD + 1):
        day = today + ahead * ONE_DAY
        midnight = datetime.combine(day, time())
        of_day = {
            resolve(midnight + time_of_day(slot["at"]), pace.zone).instant
            for slot in slots
            if on_day(slot.get("days", ()), day)
        }
        for moment in sorted(of_day):
            if moment > last:  # a gap at midnight may move slots of two days to one instant
                last = moment
                yield moment
