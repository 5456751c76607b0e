"""Shows what a post would be without storing it: the way of `domain/making.py`, gone to just before the end."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from mesh.clock import Clock
from mesh.errors import InvalidArgument
from services.bot_manager.domain import rules
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.marks import cashtags, hashtags, mentions, urls
from services.bot_manager.domain.model import (
    WHOLE_POST,
    Bot,
    BotState,
    Finding,
    Part,
    PolicyRule,
    Post,
    Severity,
)
from services.bot_manager.domain.policy.facts import PriceTable, max_weight
from services.bot_manager.domain.posts import check_not_archived
from services.bot_manager.domain.text import weighted_length
from services.bot_manager.store.ports import BotStore

_PART = re.compile(r"parts\[(\d+)\]\.(.*)")
UNKNOWN_ID: Final = "00000000-0000-0000-0000-000000000000"
"""Of what is not stored."""


class Slots(Protocol):
    """The bot's calendar."""

    async def next_free(self, bot: Bot, now: datetime, parts: int = 1) -> datetime:
        """The first of the bot's slots that no other post has taken. Raises FailedPrecondition (NO_FREE_SLOT)."""
        ...


@dataclass(frozen=True, slots=True)
class PartPreview:
    """One part as it would be sent; fields as in the contract."""

    text: str
    weighted_length: int
    max_weighted_length: int
    urls: Sequence[str]
    mentions: Sequence[str]
    hashtags: Sequence[str]
    cashtags: Sequence[str]
    cost_usd_micros: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a post would be."""

    parts: Sequence[PartPreview]
    findings: Sequence[Finding]
    scheduled_time: datetime | None
    seed: int | None

    @property
    def valid(self) -> bool:
        """Whether nothing would refuse it."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Previews:
    """See the module. Without `slots` nobody can ask for the next free one."""

    maker: Maker
    bots: BotStore
    clock: Clock
    slots: Slots | None = None

    async def preview(self, bot_id: str, draft: rules.Draft, *, next_free_slot: bool) -> Preview:
        """What the draft would become; `bot_id` empty: for no bot in particular.

        Raises NotFound (BOT_NOT_FOUND, MEDIA_NOT_FOUND), FailedPrecondition (BOT_ARCHIVED, NO_FREE_SLOT), InvalidArgument.
        """
        now = self.clock.now()
        bot = await self.bots.get(bot_id) if bot_id else Bot("", "", BotState.DRAFT, now, now)
        check_not_archived(bot)
        post = rules.new_post(UNKNOWN_ID, bot.id or UNKNOWN_ID, draft, "", now)
        at = await self._time(bot, draft, now, next_free_slot=next_free_slot)
        post = await self._prospect(bot, post, at, now)
        late = [_in_the_past()] if draft.scheduled_time is not None and draft.scheduled_time <= now else []
        prices = await self.maker.inspector.prices(bot)
        return Preview(
            [_measured(bot, post, part, prices) for part in post.parts],
            [*late, *post.findings],
            at,
            _seed(post),
        )

    async def _time(
        self, bot: Bot, draft: rules.Draft, now: datetime, *, next_free_slot: bool
    ) -> datetime | None:
        if not next_free_slot:
            return draft.scheduled_time
        if self.slots is None or not bot.id:
            raise InvalidArgument("INVALID_FIELD", "only a bot has slots", field="next_free_slot")
        return await self.slots.next_free(bot, now, len(draft.parts) or 1)

    async def _prospect(self, bot: Bot, post: Post, at: datetime | None, now: datetime) -> Post:
        """As it would be sent; one whose template does not render as it was written, with that as its finding."""
        try:
            return await self.maker.prospect(bot, post, at, now, {})
        except InvalidArgument as error:
            if error.reason != "TEMPLATE_FAILED":
                raise
            return replace(post, findings=(_unrendered(error),))


def _measured(bot: Bot, post: Post, part: Part, prices: PriceTable) -> PartPreview:
    text = part.sent_text
    return PartPreview(
        text,
        weighted_length(text),
        max_weight(bot),
        urls(text),
        mentions(text),
        hashtags(text),
        cashtags(text),
        prices.part(post, part),
    )


def _seed(post: Post) -> int | None:
    seed = (post.content.get("template") or {}).get("seed")
    return None if seed is None else int(seed)


def _unrendered(error: InvalidArgument) -> Finding:
    path = error.violations[0].field.removeprefix("post.") if error.violations else "template"
    part = _PART.match(path)
    index, name = (int(part[1]), part[2]) if part else (0 if path == "text" else WHOLE_POST, path)
    return Finding(PolicyRule.TEMPLATE, Severity.ERROR, error.message, index, name)


def _in_the_past() -> Finding:
    return Finding(
        PolicyRule.TIMING, Severity.ERROR, "the time has passed; choose a later one", field="scheduled_time"
    )
