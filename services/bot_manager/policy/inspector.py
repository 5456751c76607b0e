"""Gathers what the policy checks need to know of posts and runs them. Implements `domain.making.Inspector`.

Of one post as of a whole file: what is alike is asked in one query, the rest only where a post or its bot gives cause to ask.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from services.bot_manager.domain.making import Planned
from services.bot_manager.domain.model import Bot, Finding, PartState, PolicyRule, Post, Severity
from services.bot_manager.domain.policy.facts import (
    Facts,
    Likeness,
    Medium,
    PriceTable,
    cool_down,
    duration_of,
)
from services.bot_manager.domain.policy.fingerprints import Fingerprint, fingerprint
from services.bot_manager.domain.policy.linter import lint
from services.bot_manager.policy.neighbourhood import Neighbourhood
from services.bot_manager.policy.ports import (
    Apps,
    Budgets,
    Likenesses,
    Likes,
    Media,
    Prices,
    Surroundings,
    Windows,
)
from services.bot_manager.policy.settings import Policy

AT_ONCE: Final = 200
"""Posts that are looked up with one query, and checked before others get their turn."""
REPEATS: Final = (PolicyRule.DUPLICATE, PolicyRule.NEAR_DUPLICATE)

Prints = Sequence[tuple[int, Fingerprint]]
"""Fingerprints of a post by part."""


@dataclass(frozen=True, slots=True)
class PolicyInspector:
    """See the module. Ports that are None: what they would tell is not checked."""

    likenesses: Likenesses
    surroundings: Surroundings
    pricing: Prices
    settings: Callable[[], Policy]
    media: Media | None = None
    apps: Apps | None = None
    budgets: Budgets | None = None
    windows: Windows | None = None

    async def inspect(self, bot: Bot, post: Post, at: datetime | None, now: datetime) -> Sequence[Finding]:
        """See the port."""
        return (await self.inspect_all(bot, [(post, at)], now))[0]

    async def inspect_all(
        self, bot: Bot, planned: Sequence[Planned], now: datetime
    ) -> Sequence[Sequence[Finding]]:
        """See the port."""
        inspection = _Inspection(self, bot, now, self.settings())
        await inspection.look_around(planned)
        found: list[Sequence[Finding]] = []
        for start in range(0, len(planned), AT_ONCE):
            found += await inspection.inspect(planned[start : start + AT_ONCE])
            await asyncio.sleep(0)
        return found

    async def prices(self, bot: Bot) -> PriceTable:
        """See the port."""
        return await self.pricing.table(bot)


@dataclass(slots=True)
class _Inspection:
    """One look at posts of one bot, all by the same settings."""

    ports: PolicyInspector
    bot: Bot
    now: datetime
    settings: Policy
    tier: str = ""
    prices: PriceTable | None = None
    around: Neighbourhood = field(default_factory=Neighbourhood)

    async def look_around(self, planned: Sequence[Planned]) -> None:
        """What is asked once for all."""
        self.prices = await self.ports.prices(self.bot)
        quotes = any("quote_x_post_id" in post.content for post, _ in planned)
        if quotes and self.bot.app_id and self.ports.apps is not None:
            self.tier = await self.ports.apps.tier(self.bot.app_id)
        times = [at for _, at in planned if at is not None]
        interval = self._interval
        if interval and times and self.bot.id:
            but = planned[0][0].id
            self.around = Neighbourhood(
                await self.ports.surroundings.times(
                    self.bot.id, min(times) - interval, max(times) + interval, but
                )
            )

    async def inspect(self, planned: Sequence[Planned]) -> list[Sequence[Finding]]:
        """What is found in each; one that may go out is part of what the next is held against."""
        prints = [self._prints(post) for post, _ in planned]
        alike = await self._alike(planned, prints)
        media = await self._media(planned)
        severities = self.settings.severities
        found: list[Sequence[Finding]] = []
        for (post, at), made, others in zip(planned, prints, alike, strict=True):
            facts = await self._facts(post, at, [*others, *self.around.alike(made)], media)
            findings = lint(facts, severities)
            if at is not None and not any(finding.severity is Severity.ERROR for finding in findings):
                self.around.add(post, at, made)
            found.append(findings)
        return found

    async def _facts(
        self, post: Post, at: datetime | None, alike: Sequence[Likeness], media: Mapping[str, Medium]
    ) -> Facts:
        ports, bot = self.ports, self.bot if self.bot.id else None
        timed = bot is not None and at is not None
        reply = post.content.get("reply_to_x_post_id", "")
        return Facts(
            post,
            self.now,
            bot=bot,
            at=at,
            limits=self.settings.limits,
            media=media,
            tier=self.tier,
            prices=self.prices,
            replies_to_own=bool(reply and bot and await ports.surroundings.is_own(bot.id, reply)),
            likenesses=alike,
            silent_until=ports.windows(bot, at) if timed and bot and at and ports.windows else None,
            nearest=self.around.nearest(at, self._interval) if timed and at and self._interval else None,
            budget=await ports.budgets.excess(bot, post, at)
            if timed and bot and at and ports.budgets
            else "",
        )

    async def _alike(self, planned: Sequence[Planned], prints: Sequence[Prints]) -> list[list[Likeness]]:
        """Stored posts that may say the same, for each post."""
        severities, limits = self.settings.severities, self.settings.limits
        if not self.bot.id or all(severities[rule] is None for rule in REPEATS):
            return [[] for _ in planned]
        own = cool_down(self.bot, limits)
        asked = [
            (number, Likes(post.id, self.bot.id, index, made.keys, at or self.now, own, limits.other_bots))
            for number, ((post, at), of_post) in enumerate(zip(planned, prints, strict=True))
            for index, made in of_post
        ]
        answers = await self.ports.likenesses.find([likes for _, likes in asked])
        found: list[list[Likeness]] = [[] for _ in planned]
        for (number, _), answer in zip(asked, answers, strict=True):
            found[number] += answer
        return found

    async def _media(self, planned: Sequence[Planned]) -> Mapping[str, Medium]:
        wanted = sorted({one for post, _ in planned for part in post.parts for one in part.media_ids})
        if not wanted or self.ports.media is None:
            return {}
        return await self.ports.media.facts(wanted)

    def _prints(self, post: Post) -> Prints:
        left = [part for part in post.parts if part.state is not PartState.PUBLISHED]
        made = ((part.index, fingerprint(part.sent_text)) for part in left)
        return [(index, one) for index, one in made if one is not None]

    @property
    def _interval(self) -> timedelta:
        return duration_of(self.bot, "min_interval", timedelta())
