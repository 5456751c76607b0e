"""Money: what a call to X costs, budgets, and apps with the switch that X's answers open.

Amounts are whole millionths of a US dollar, days and months those of UTC. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from services.bot_manager.domain.model import Bot, Document, Part, Post
from services.bot_manager.domain.text import links

DAY: Final = timedelta(days=1)
DEFAULT_WARN_PERCENT: Final = 80


class AppState(StrEnum):
    """See the contract's AppState."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"


class Tier(StrEnum):
    """See the contract's AppTier."""

    PAY_PER_USE = "PAY_PER_USE"
    FREE = "FREE"
    BASIC = "BASIC"
    PRO = "PRO"
    ENTERPRISE = "ENTERPRISE"


@dataclass(frozen=True, slots=True)
class PriceTable:
    """What X charges, as its price list of August 2026 says. Names are those of the contract without their unit."""

    post: int = 15_000
    post_with_url: int = 200_000
    summoned_reply: int = 10_000
    delete: int = 10_000
    read: int = 5_000
    owned_read: int = 1_000
    user_read: int = 10_000
    media_metadata: int = 5_000

    def over(self, document: Document | None) -> "PriceTable":
        """These prices with those of an app's PriceTable in their place."""
        given = document or {}
        names = [field.name for field in fields(self) if f"{field.name}_usd_micros" in given]
        return replace(self, **{name: int(given[f"{name}_usd_micros"]) for name in names})

    def text(self, text: str, *, reply: bool = False) -> int:
        """One post with this text. `reply`: to a post of somebody else, which X admits where that mentions the account."""
        if next(links(text), None) is not None:
            return self.post_with_url
        return self.summoned_reply if reply else self.post

    def part(self, post: Post, part: Part) -> int:
        """One part of a post; those after the first reply to the post's own."""
        return self.text(
            part.sent_text, reply=part.index == 0 and bool(post.content.get("reply_to_x_post_id"))
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that may be spent; None is no limit, 0 nothing at all."""

    daily: int | None = None
    monthly: int | None = None
    warn_percent: int = DEFAULT_WARN_PERCENT

    @classmethod
    def of(cls, document: Document | None) -> "Budget | None":
        """The contract's Budget; None where there is none or where it limits nothing."""
        given: Mapping[str, object] = document or {}
        limits = [given.get(f"{span}_usd_micros") for span in ("daily", "monthly")]
        daily, monthly = (None if one is None else int(str(one)) for one in limits)
        if daily is None and monthly is None:
            return None
        return cls(daily, monthly, int(str(given.get("warn_percent") or DEFAULT_WARN_PERCENT)))

    def refuses(self, cost: int, used: "Used", now: datetime) -> datetime | None:
        """When a call of this cost fits again that does not fit now; None if it does."""
        if _exceeds(cost, used.month, self.monthly):
            return next_month(now)
        return next_day(now) if _exceeds(cost, used.today, self.daily) else None

    def share(self, used: "Used") -> float:
        """How much of the budget is used, of the tighter of its limits: 1 is all."""
        shares = [(used.today, self.daily), (used.month, self.monthly)]
        return max((1.0 if limit == 0 else spent / limit for spent, limit in shares if limit is not None))


@dataclass(frozen=True, slots=True)
class Used:
    """What an owner has spent of a day and of the month with it, reservations contained."""

    today: int = 0
    month: int = 0

    def plus(self, amount: int) -> "Used":
        """After spending more now."""
        return Used(self.today + amount, self.month + amount)


@dataclass(frozen=True, slots=True)
class App:
    """A developer app of X. `limits`, `prices` and `budget` are the contract's messages, secrets are none of it."""

    id: str
    display_name: str
    create_time: datetime
    update_time: datetime
    client_id: str = ""
    credentials_version: int = 0
    tier: Tier = Tier.PAY_PER_USE
    limits: Document | None = None
    prices: Document | None = None
    budget: Document | None = None
    state: AppState = AppState.ACTIVE
    creator: str = ""
    version: int = 1

    @property
    def concurrent_calls(self) -> int | None:
        """Calls in flight at once over all its bots; None is no limit of its own."""
        given = (self.limits or {}).get("concurrent_calls")
        return None if given is None else int(given)


@dataclass(frozen=True, slots=True)
class Breaker:
    """An open switch: no call for the owner before `retry_time`, and then one. `reason` is an ErrorReason."""

    owner_id: str
    reason: str
    message: str
    open_time: datetime
    retry_time: datetime


@dataclass(frozen=True, slots=True)
class AppStatus:
    """An app with what is known about it beside."""

    app: App
    bot_count: int = 0
    breaker: Breaker | None = None


def payer_of(bot: Bot) -> str:
    """Whose credits a bot uses: its app's; a bot without an app stands for itself."""
    return bot.app_id or bot.id


def day_of(time: datetime) -> date:
    """The day of UTC."""
    return time.astimezone(UTC).date()


def month_start(time: datetime) -> date:
    """The first day of the month, UTC."""
    return day_of(time).replace(day=1)


def next_day(now: datetime) -> datetime:
    """The midnight of UTC that comes next."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + DAY


def next_month(now: datetime) -> datetime:
    """When the next month of UTC begins."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + 32 * DAY).replace(day=1)


def _exceeds(cost: int, used: int, limit: int | None) -> bool:
    return limit is not None and (limit == 0 or used + cost > limit)
