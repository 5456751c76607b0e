"""A bot's tokens replaced, with the bot's record kept in line: what the refresher does, and what follows from it.

Tokens that X refuses for good make the bot REAUTH_REQUIRED, with words that say what to do. Everything else leaves it as it is, since
the next try may succeed.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from loguru import logger

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, MeshError
from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.model import OAUTH1, OAUTH2, Bot
from services.bot_manager.store.ports import BotStore

DEAD: Final = frozenset({"X_CREDENTIALS_REJECTED", "CREDENTIALS_MISSING"})
"""Refusals that only connecting the account anew can change."""
ASK_A_PERSON: Final = "X no longer accepts the bot's tokens; connect the account again"


class Refresher(Protocol):
    """`refresher.TokenRefresher`."""

    async def refresh(self, bot_id: str, stale_version: int) -> int: ...


class FreshTokens:
    """Which secret a bot uses, and a newer one in place of one that is of no use. `before` is how long before its end a token is replaced."""

    def __init__(
        self, bots: BotStore, refresher: Refresher, before: Callable[[], timedelta], clock: Clock
    ) -> None:
        self._bots = bots
        self._refresher = refresher
        self._before = before
        self._clock = clock

    async def kind_of(self, bot_id: str) -> str:
        """OAUTH1 or OAUTH2. Raises NotFound (BOT_NOT_FOUND)."""
        status = (await self._bots.get(bot_id)).credentials
        return OAUTH1 if status is None else status.kind

    def is_due(self, left: timedelta) -> bool:
        """Whether a token that lasts for so long should be replaced."""
        return left <= self._before()

    async def replace(self, bot_id: str, stale_version: int) -> int:
        """A version newer than `stale_version`. Raises as `TokenRefresher.refresh`; a refusal for good has stopped the bot by then."""
        try:
            return await self._refresher.refresh(bot_id, stale_version)
        except FailedPrecondition as refused:
            if refused.reason in DEAD:
                await self.give_up(bot_id, stale_version, refused.reason)
            raise

    async def give_up(self, bot_id: str, version: int, reason: str) -> None:
        """X refuses the tokens of `version` for good: the bot is REAUTH_REQUIRED, unless it has others by now."""
        status = (await self._bots.get(bot_id)).credentials
        if status is not None and status.kind == OAUTH2 and status.version <= version:
            await self._bots.apply(
                bot_id, BotEvent.REFUSE_CREDENTIALS, self._clock.now(), reason, ASK_A_PERSON
            )
            logger.bind(bot_id=bot_id, reason=reason).warning("tokens of bot are dead")

    async def note(self, bot_id: str, version: int, expire_time: datetime | None) -> None:
        """Show which version is in use now, and until when. A record that is away is no reason to stop."""

        def edit(bot: Bot) -> Bot:
            status = bot.credentials
            if status is None or status.kind != OAUTH2 or status.version >= version:
                return bot
            return replace(bot, credentials=replace(status, version=version, expire_time=expire_time))

        try:
            await self._bots.change(bot_id, edit, self._clock.now(), concludes=False)
        except MeshError as error:
            logger.bind(bot_id=bot_id, reason=error.reason).warning("refreshed version not noted")
