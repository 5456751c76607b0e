"""What stands between a claim and the intent to call X: the app's switch, budgets and rate limits.

A `Till` decides the intents of one batch in order, each after what those before it have set aside. The store fills it under the locks of
the owners' windows and writes what it became in the same transaction, so over all replicas never more is set aside than there is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from services.bot_manager.domain.limits import POST, PREFIXES, USER, Full, Key, Window, key_of, limits_of
from services.bot_manager.domain.model import Bot, Charge, Part, Post
from services.bot_manager.domain.money import (
    App,
    AppState,
    Breaker,
    Budget,
    PriceTable,
    Used,
    payer_of,
)
from services.bot_manager.store.ports import Refusal, Wait

PROBE: Final = timedelta(seconds=30)
"""How long the one call that tries an open switch may take before another may try, and how long the others then wait for it."""
BUSY: Final = timedelta(seconds=1)
"""How long a post waits for a place among the calls that an app may have in flight."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings that decide: default prices, and posts of one account in 15 minutes."""

    prices: PriceTable = field(default_factory=PriceTable)
    user_posts: int = 100


@dataclass(frozen=True, slots=True)
class Crossing:
    """A budget of which so much is used by now that somebody should hear of it. `owner_id` is the bot's or the app's."""

    owner_id: str
    of_app: bool
    budget: Budget
    used: Used

    @property
    def exhausted(self) -> bool:
        """Used up, not only passed the percentage at which it warns."""
        return self.budget.share(self.used) >= 1


@dataclass(slots=True)
class Till:
    """See the module. `used` is exact for owners with a budget, of the others the month may be left out; `in_flight` holds apps that
    limit their calls in flight.
    """

    now: datetime
    terms: Terms
    apps: Mapping[str, App]
    windows: dict[Key, Window]
    used: dict[str, Used]
    breakers: dict[str, Breaker]
    in_flight: dict[str, int]
    taken: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By owner: what was set aside, and for how many calls."""
    changed: set[Key] = field(default_factory=set)
    """Windows that were counted in."""
    probed: set[str] = field(default_factory=set)
    """Owners whose switch is being tried."""
    crossings: list[Crossing] = field(default_factory=list)
    full: list[Full] = field(default_factory=list)
    """Windows of which the last call was set aside."""

    def admit(self, bot: Bot, post: Post, part: Part) -> Charge | Refusal | Wait:
        """Set aside what the call needs, or say why it has to wait; then nothing is set aside."""
        app = self.apps.get(bot.app_id)
        if app is not None and app.state is AppState.PAUSED:
            return Refusal.APP_PAUSED
        cost = self._prices(app).part(post, part)
        limits = limits_of(bot, app, POST, self.terms.user_posts)
        hurdle = self._busy(app) or self._over_budget(bot, app, cost) or self._limited(bot, limits)
        if hurdle is not None:
            return hurdle
        breaker = self.breakers.get(payer_of(bot))
        if breaker is not None and breaker.retry_time > self.now:
            return Wait(breaker.retry_time, breaker.reason, breaker.message)
        return self._take(bot, app, cost, limits, probe=breaker is not None)

    def _prices(self, app: App | None) -> PriceTable:
        return self.terms.prices.over(app.prices if app else None)

    def _busy(self, app: App | None) -> Wait | None:
        if app is None or app.concurrent_calls is None or self.in_flight[app.id] < app.concurrent_calls:
            return None
        told = f"{app.concurrent_calls} calls of the app are under way, as many as it may have at once"
        return Wait(self.now + BUSY, "X_RATE_LIMITED", told, "concurrent calls")

    def _over_budget(self, bot: Bot, app: App | None, cost: int) -> Wait | None:
        waits = []
        for owner_id, name, budget in _budgets(bot, app):
            until = budget.refuses(cost, self.used[owner_id], self.now)
            if until is not None:
                told = f"the {name}'s budget does not allow another {dollars(cost)}"
                waits.append(Wait(until, "BUDGET_EXCEEDED", told))
        return max(waits, key=lambda wait: wait.until, default=None)

    def _limited(self, bot: Bot, limits: Mapping[Key, int]) -> Wait | None:
        full = [
            (key, window)
            for key, window in self._windows_of(bot, limits).items()
            if window.left(limits.get(key)) < 1
        ]
        if not full:
            return None
        key, window = max(full, key=lambda found: found[1].reset_time)
        whose = "the account" if key.scope == USER else "the app"
        told = f"{whose} has used up its posts of this window; it goes out when the window ends"
        return Wait(window.reset_time, "X_RATE_LIMITED", told, POST)

    def _windows_of(self, bot: Bot, limits: Mapping[Key, int]) -> dict[Key, Window]:
        """Windows that are configured, and those that X told of; each as it is now."""
        told = [
            key
            for prefix in PREFIXES.values()
            if (key := key_of(bot, prefix[0], POST, prefix[1])) in self.windows
        ]
        start = Window(0, self.now)
        return {key: self.windows.get(key, start).at(self.now, key.length) for key in {*limits, *told}}

    def _take(
        self, bot: Bot, app: App | None, cost: int, limits: Mapping[Key, int], *, probe: bool
    ) -> Charge:
        payer = payer_of(bot)
        for key, window in self._windows_of(bot, limits).items():
            after = self.windows[key] = window.plus(1)
            self.changed.add(key)
            if not after.left(limits.get(key)):
                self.full.append(Full(key, after.limit(limits.get(key)), after.reset_time, after.reported))
        for owner_id in {bot.id, payer}:
            spent, calls = self.taken.get(owner_id, (0, 0))
            self.taken[owner_id] = spent + cost, calls + 1
        before = {owner_id: self.used[owner_id] for owner_id in (bot.id, payer)}
        self.used |= {owner_id: used.plus(cost) for owner_id, used in before.items()}
        for owner_id, name, budget in _budgets(bot, app):
            self._note(owner_id, name == "app", budget, before[owner_id], self.used[owner_id])
        if app is not None and app.id in self.in_flight:
            self.in_flight[app.id] += 1
        if probe:
            self.breakers[payer] = replace(self.breakers[payer], retry_time=self.now + PROBE)
            self.probed.add(payer)
        nearest = max(
            (entry for entry in _budgets(bot, app) if entry[2].daily is not None),
            key=lambda entry: self.used[entry[0]].today / (entry[2].daily or 1),
            default=None,
        )
        counted_for = bot.id if nearest is None else nearest[0]
        return Charge(
            cost,
            bot.app_id,
            counted_for,
            today_usd_micros=self.used[counted_for].today,
            daily_budget_usd_micros=0 if nearest is None else nearest[2].daily or 0,
            probe=probe,
        )

    def _note(self, owner_id: str, of_app: bool, budget: Budget, before: Used, after: Used) -> None:
        for mark in (1.0, budget.warn_percent / 100):
            if budget.share(before) < mark <= budget.share(after):
                self.crossings.append(Crossing(owner_id, of_app, budget, after))
                return


def budgets_of(bot: Bot, app: App | None) -> dict[str, Budget]:
    """The budgets that a bot's calls count against, by owner."""
    return {owner_id: budget for owner_id, _, budget in _budgets(bot, app)}


def dollars(usd_micros: int) -> str:
    """`$0.015`."""
    text = f"{usd_micros / 1_000_000:.6f}".rstrip("0")
    return f"${text}0" if text.endswith(".") else f"${text}"


def _budgets(bot: Bot, app: App | None) -> list[tuple[str, str, Budget]]:
    found = [(bot.id, "bot", Budget.of(bot.budget))]
    if app is not None:
        found.append((app.id, "app", Budget.of(app.budget)))
    return [(owner_id, name, budget) for owner_id, name, budget in found if budget is not None]
