"""What a bot's posts cost, and whether its budgets have room for them: for those who make posts.

The answer is a forecast. What decides is what is left when the post goes out (`domain/reserving.py`).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mesh.clock import Clock
from mesh.errors import NotFound
from services.bot_manager.domain.model import Bot, Post
from services.bot_manager.domain.money import App, AppStatus, PriceTable, Used, day_of, month_start
from services.bot_manager.domain.reserving import Terms, budgets_of, dollars


class AppLookup(Protocol):
    """Where apps are found."""

    async def get(self, app_id: str) -> AppStatus:
        """Raises NotFound (APP_NOT_FOUND)."""
        ...


class Sums(Protocol):
    """What was spent."""

    async def used(self, owner_ids: Collection[str], now: datetime) -> Mapping[str, Used]:
        """Of this day and month, by bot or app."""
        ...


@dataclass(frozen=True, slots=True)
class Prices:
    """See the module. `terms` are the settings of the moment."""

    apps: AppLookup
    sums: Sums
    terms: Callable[[], Terms]
    clock: Clock

    async def table(self, bot: Bot) -> PriceTable:
        """The app's prices over those of the settings."""
        app = await self._app(bot)
        return self.terms().prices.over(app.prices if app else None)

    async def post(self, bot: Bot, text: str) -> int:
        """What one part with this text costs, in millionths of a US dollar."""
        return (await self.table(bot)).text(text)

    async def tier(self, app_id: str) -> str:
        """A name of the contract's AppTier; empty if there is no such app."""
        try:
            return (await self.apps.get(app_id)).app.tier.value if app_id else ""
        except NotFound:
            return ""

    async def excess(self, bot: Bot, post: Post, at: datetime) -> str:
        """Which budget the post would go beyond if it went out `at`, in a sentence for people; empty if none.

        Of what is still to come until then nothing is counted: neither other posts nor money that is spent meanwhile.
        """
        app = await self._app(bot)
        table = self.terms().prices.over(app.prices if app else None)
        cost = sum(table.part(post, part) for part in post.parts if not part.x_post_id)
        budgets = budgets_of(bot, app)
        now = self.clock.now()
        found = await self.sums.used(budgets.keys(), now)
        for owner_id, budget in budgets.items():
            used = _then(found[owner_id], now, at)
            if budget.refuses(cost, used, at) is not None:
                whose = "bot" if owner_id == bot.id else "app"
                return f"it costs {dollars(cost)}, which the {whose}'s budget does not allow then"
        return ""

    async def _app(self, bot: Bot) -> App | None:
        try:
            return (await self.apps.get(bot.app_id)).app if bot.app_id else None
        except NotFound:
            return None


def _then(used: Used, now: datetime, at: datetime) -> Used:
    """What of `used` counts for the day and month of `at`."""
    return Used(
        used.today if day_of(at) == day_of(now) else 0,
        used.month if month_start(at) == month_start(now) else 0,
    )
