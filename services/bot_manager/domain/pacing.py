"""How often a bot may post: what its policy says, and what follows from what it has published and is about to.

min_interval        between two posts; parts of a thread do not count
max_posts_per_day   between two midnights on the bot's clock; parts of a thread do count
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from services.bot_manager.domain.model import Bot, Document, PartState, Post
from services.bot_manager.domain.recurrence.wallclock import resolve, wall_of

SHORTLY: Final = timedelta(seconds=15)
"""When to look again while another post of the bot is on its way: most are settled by then."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a bot's posts have come to at one moment, as far as its pace goes. All but `used` is of its other posts."""

    used: int = 0
    """Parts that count today: published, perhaps published, or of a post that was let through and is not settled."""
    last: datetime | None = None
    """When the last part went out, or may have."""
    under_way: int = 0
    """Posts that were let through and are not settled."""
    put_off: Sequence[datetime] = ()
    """When those come up again that had to give way."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a part has to wait, and for how long."""

    until: datetime
    message: str


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

    def day_of(self, moment: datetime) -> tuple[datetime, datetime]:
        """The midnights before and after a moment on the bot's clock, UTC."""
        midnight = datetime.combine(wall_of(moment, self.zone).date(), time())
        first, after = resolve(midnight, self.zone), resolve(midnight + timedelta(days=1), self.zone)
        return first.instant, after.instant

    def fits_day(self, used: int, wanted: int) -> bool:
        """Whether a post of so many parts may begin on a day of which `used` are taken. One longer than a day may have begins a day."""
        return not self.a_day or used + min(wanted, self.a_day) <= self.a_day


def hold(pace: Pace, post: Post, standing: Standing, now: datetime) -> Hold | None:
    """Whether the next part of a post has to wait. Once a part is on X the others follow, unless the day is full."""
    begun = bool(post.x_post_ids)
    left = sum(part.state is not PartState.PUBLISHED for part in post.parts)
    if not pace.fits_day(standing.used, 1 if begun else left):
        told = f"the bot has had its {pace.a_day} posts of the day; it goes on at midnight"
        return Hold(pace.day_of(now)[1], told)
    if begun or not pace.interval:
        return None
    if standing.under_way:
        return Hold(now + min(pace.interval, SHORTLY), "another post of the bot is on its way")
    if standing.last is None or standing.last + pace.interval <= now:
        return None
    told = f"less than {pace.interval} have passed since the bot's last post"
    return Hold(_first_gap(standing.last + pace.interval, pace.interval, standing.put_off), told)


def _first_gap(start: datetime, interval: timedelta, others: Sequence[datetime]) -> datetime:
    """The first time from `start` on that keeps the interval to each of the others."""
    for other in sorted(others):
        if other - start >= interval:
            break
        start = max(start, other + interval)
    return start
