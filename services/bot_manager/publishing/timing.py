"""Whether this is the moment for a post: black-out windows, the least distance between posts, the most posts a day. A `Check`.

Windows are computed from what the claim brought along. Only bots whose policy has an interval or a number a day cost a look at the
database, where their posts are let through one by one. What is put off beyond its latest time is MISSED, like all that waits too long.
"""

from typing import Final

from mesh.clock import Clock
from services.bot_manager.domain.model import Bot, Part, Post
from services.bot_manager.domain.pacing import Pace, hold
from services.bot_manager.domain.windows import silent_until
from services.bot_manager.publishing.checks import PutOff
from services.bot_manager.store.pacing import PaceStore

REASON: Final = "POLICY_VIOLATION"


class Timing:
    """See the module."""

    def __init__(self, store: PaceStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def __call__(self, post: Post, bot: Bot, part: Part) -> PutOff | None:
        """See the port. Raises Unavailable where the database decides and is away."""
        if not bot.policy:
            return None
        pace, now = Pace.of(bot), self._clock.now()
        silent = silent_until(pace.windows, pace.zone, now)
        if silent is not None:
            return PutOff(silent, REASON, "it would fall into a black-out window of the bot")
        if not pace.a_day and (post.x_post_ids or not pace.interval):
            return None
        held = await self._store.let_through(
            post, pace, now, lambda standing: hold(pace, post, standing, now)
        )
        return None if held is None else PutOff(held.until, REASON, held.message)
