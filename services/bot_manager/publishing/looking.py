"""One look at an account: the bot's secret, its posts since a moment, and whether what is missing there is surely missing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mesh.clock import Clock
from mesh.errors import MeshError
from services.bot_manager.domain.limits import OWN_POSTS, WHO_AM_I, CallCount, free_of_charge
from services.bot_manager.domain.model import Bot
from services.bot_manager.publishing.leases import Leases
from services.bot_manager.publishing.sender import SLACK
from services.bot_manager.publishing.settings import PublishSettings
from services.bot_manager.x.port import XCredentials, XPort, XTimeline

MOST_POSTS: Final = 1000
"""Of one account in one look; an account that has made more since is not read fully."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen. `began` is the database's time before it; `failure` says why it is not clean; `pause` is how long X wants to be
    left alone."""

    began: datetime
    timeline: XTimeline
    failure: str = ""
    pause: timedelta | None = None

    @property
    def clean(self) -> bool:
        """Whether what is missing counts as missing."""
        return not self.failure


class Looker:
    """Looks at accounts; never raises MeshError, since a failed look is one too."""

    def __init__(
        self,
        x: XPort,
        leases: Leases,
        settings: Callable[[], PublishSettings],
        clock: Clock,
        count: CallCount = free_of_charge,
    ) -> None:
        self._x = x
        self._leases = leases
        self._settings = settings
        self._clock = clock
        self._count = count

    async def look(self, bot: Bot, since: datetime, began: datetime) -> Look:
        """The account's posts from `since` on."""
        try:
            timeline = await self._read(bot, since)
        except MeshError as error:
            return self._failed(bot, error, began)
        if not timeline.complete:
            return Look(began, timeline, "X did not tell of all posts")
        return Look(began, timeline)

    async def _read(self, bot: Bot, since: datetime) -> XTimeline:
        need = self._settings().request_timeout + SLACK
        why = "read the account to settle a post of unknown outcome"

        async def read(credentials: XCredentials) -> XTimeline:
            user_id = bot.x_user_id or await self._who(bot, credentials)
            return await self._x.own_posts(credentials, user_id, since, MOST_POSTS)

        timeline = await self._leases.call(bot.id, why, need, read)
        self._count(bot.id, OWN_POSTS, len(timeline.posts))
        return timeline

    async def _who(self, bot: Bot, credentials: XCredentials) -> str:
        account = await self._x.get_me(credentials)
        self._count(bot.id, WHO_AM_I, 1)
        return account.user_id

    def _failed(self, bot: Bot, error: MeshError, began: datetime) -> Look:
        pause = error.retry_after
        if error.reason == "X_CREDENTIALS_REJECTED":
            self._leases.forget(bot.id)
        if error.reason == "X_CREDITS_DEPLETED":
            pause = self._settings().rules.credits_pause
        return Look(began, XTimeline(complete=False), error.message or error.reason, pause)
