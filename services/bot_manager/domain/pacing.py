"""How often a bot may post: what its policy says, and what follows from what it has published and is about to.

min_interval        between two posts; parts of a thread do not count
max_posts_per_day   between two midnights on the bot's clock; parts of a thread do count
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from services.bot_manager.domain.model import Bot, Document
from services.bot_manager.domain.recurrence.wallclock import resolve, wall_of


@dataclass(frozen=True, slots=True)
class Pace:
    """The rules of one bot. No interval and 0 a day: as it likes."""

    zone: ZoneInfo
    windows: Sequence[Document] = ()
    interval: timedelta = timedelta()
    a_day: int = 0

    @classmethod
    def of(cls, bot: Bot) -> "Pace":
        """What the bot's policy says."""
        policy = bot.policy or {}
        return cls(
            zone=ZoneInfo(bot.time_zone),
            windows=policy.get("blackout_windows", ()),
            interval=timedelta(seconds=float(str(policy.get("min_interval", "0s")).removesuffix("s"))),
            a_day=int(policy.get("max_posts_per_day", 0)),
        )

    @property
    def counts(self) -> bool:
        """Whether other posts of the bot matter."""
        return bool(self.interval or self.a_day)

    def day_of(self, moment: datetime) -> tuple[datetime, datetime]:
        """The midnights before and after a moment on the bot's clock, UTC."""
        midnight = datetime.combine(wall_of(moment, self.zone).date(), time())
        first, after = resolve(midnight, self.zone), resolve(midnight + timedelta(days=1), self.zone)
        return first.instant, after.instant

    def fits_day(self, used: int, wanted: int) -> bool:
        """Whether a post of so many parts may begin on a day of which `used` are taken. One longer than a day may have begins a day."""
        return not self.a_day or used + min(wanted, self.a_day) <= self.a_day


def first_gap(start: datetime, interval: timedelta, others: Sequence[datetime]) -> datetime:
    """The first time from `start` on with less than nothing of `interval` to each of `others` in the way."""
    for other in sorted(others):
        if other - start >= interval:
            break
        start = max(start, other + interval)
    return start
