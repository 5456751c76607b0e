"""What a bot may still do now, and what is to come, read from what is known. X is never asked."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mesh.clock import Clock
from services.bot_manager.domain.limits import LIMITS, POST, Key, Window, limits_of
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.domain.money import (
    App,
    AppState,
    AppStatus,
    Breaker,
    Budget,
    Used,
    day_of,
    next_day,
    next_month,
    payer_of,
)
from services.bot_manager.domain.reserving import Terms, budgets_of
from services.bot_manager.store.ports import BotStore


@dataclass(frozen=True, slots=True)
class Sum:
    """The contract's Spend. What is reserved is contained in today and month."""

    today: int = 0
    month: int = 0
    reserved: int = 0
    calls_today: int = 0


@dataclass(frozen=True, slots=True)
class Upcoming:
    """A post that waits for its time, and what it will cost."""

    bot_id: str
    due_time: datetime
    cost: int


@dataclass(frozen=True, slots=True)
class Limit:
    """One window of one limit as it is now. `reset_time` is None if nothing was counted in it yet."""

    key: Key
    calls: int
    left: int
    reset_time: datetime | None
    reported: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """The contract's Forecast."""

    posts_today: int
    posts_month: int
    today: int
    month: int
    exhaust_time: datetime | None


@dataclass(frozen=True, slots=True)
class Quota:
    """The contract's Quota."""

    bot: Bot
    app: App | None
    limits: Sequence[Limit]
    spend: Sum
    app_spend: Sum | None
    forecast: Forecast
    breaker: Breaker | None
    next_post_time: datetime | None
    compute_time: datetime


class QuotaStore(Protocol):
    """What is known."""

    async def sums(self, owner_ids: Collection[str], now: datetime) -> Mapping[str, Sum]:
        """What bots or apps have spent, by id."""
        ...

    async def windows(self, owner_ids: Collection[str]) -> Mapping[Key, Window]:
        """Every window that is counted for bots or apps."""
        ...

    async def breaker(self, owner_id: str) -> Breaker | None:
        """The open switch of who pays; None if calls go."""
        ...

    async def upcoming(self, bot: Bot, until: datetime) -> Sequence[Upcoming]:
        """Posts due before `until` of the bot and of all that use its app, earliest first, up to a bound."""
        ...


class AppLookup(Protocol):
    """Where apps are found."""

    async def get(self, app_id: str) -> AppStatus:
        """Raises NotFound (APP_NOT_FOUND)."""
        ...


@dataclass(frozen=True, slots=True)
class Quotas:
    """See the module."""

    bots: BotStore
    apps: AppLookup
    store: QuotaStore
    terms: Callable[[], Terms]
    clock: Clock

    async def of(self, bot_id: str) -> Quota:
        """Raises NotFound (BOT_NOT_FOUND)."""
        now, terms = self.clock.now(), self.terms()
        bot = await self.bots.get(bot_id)
        app = (await self.apps.get(bot.app_id)).app if bot.app_id else None
        owner_ids = {bot.id, payer_of(bot)}
        sums = await self.store.sums(owner_ids, now)
        limits = limits_now(bot, app, await self.store.windows(owner_ids), terms.user_posts, now)
        breaker = await self.store.breaker(payer_of(bot))
        upcoming = await self.store.upcoming(bot, next_month(now))
        price = terms.prices.over(app.prices if app else None).post
        used = {owner_id: Used(one.today, one.month) for owner_id, one in sums.items()}
        return Quota(
            bot,
            app,
            limits,
            sums[bot.id],
            sums[app.id] if app else None,
            forecast(bot, app, used, upcoming, now),
            breaker,
            next_post_time(bot, app, limits, used, price, breaker, now),
            now,
        )


def limits_now(
    bot: Bot, app: App | None, windows: Mapping[Key, Window], user_posts: int, now: datetime
) -> list[Limit]:
    """Every limit that is configured or was told of, the tightest first."""
    configured = {
        key: calls
        for operation in LIMITS
        for key, calls in limits_of(bot, app, operation, user_posts).items()
    }
    found = []
    for key in {*configured, *windows}:
        if key.owner_id not in (bot.id, payer_of(bot)):
            continue
        calls, known = configured.get(key), windows.get(key)
        window = (known or Window(0, now)).at(now, key.length)
        if calls is None and window.x_limit is None:
            continue
        begun = known is not None and now < known.reset_time
        reset = window.reset_time if begun else None
        found.append(Limit(key, window.limit(calls), window.left(calls), reset, begun and window.reported))
    return sorted(found, key=lambda one: (one.left / max(one.calls, 1), one.key))


def forecast(
    bot: Bot, app: App | None, used: Mapping[str, Used], upcoming: Sequence[Upcoming], now: datetime
) -> Forecast:
    """What posts that wait for their time come to. `upcoming` holds those of the whole app, in order, until the month ends."""
    mine = [one for one in upcoming if one.bot_id == bot.id]
    today = [one for one in mine if one.due_time < next_day(now)]
    times = [
        time
        for owner_id, budget in budgets_of(bot, app).items()
        if (time := exhaust_time(budget, used[owner_id], mine if owner_id == bot.id else upcoming, now))
    ]
    return Forecast(
        len(today),
        len(mine),
        used[bot.id].today + sum(one.cost for one in today),
        used[bot.id].month + sum(one.cost for one in mine),
        min(times, default=None),
    )


def exhaust_time(budget: Budget, used: Used, upcoming: Sequence[Upcoming], now: datetime) -> datetime | None:
    """When the first of these posts finds no room in the budget; None if all do."""
    day = day_of(now)
    for one in upcoming:
        time = max(one.due_time, now)
        if day_of(time) != day:
            day, used = day_of(time), Used(0, used.month)
        if budget.refuses(one.cost, used, time) is not None:
            return time
        used = used.plus(one.cost)
    return None


def next_post_time(
    bot: Bot,
    app: App | None,
    limits: Sequence[Limit],
    used: Mapping[str, Used],
    price: int,
    breaker: Breaker | None,
    now: datetime,
) -> datetime | None:
    """When one more post may go out; None if it may now, or not before somebody acts."""
    if bot.state is not BotState.ACTIVE or (app is not None and app.state is AppState.PAUSED):
        return None
    budgets = budgets_of(bot, app)
    if any(0 in (budget.daily, budget.monthly) for budget in budgets.values()):
        return None
    times = [budget.refuses(price, used[owner_id], now) for owner_id, budget in budgets.items()]
    times += [one.reset_time for one in limits if one.key.operation == POST and one.left < 1]
    times.append(breaker.retry_time if breaker else None)
    return max((time for time in times if time is not None and time > now), default=None)
