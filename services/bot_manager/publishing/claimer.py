"""Finds due posts and claims them. Each claim puts its action into the outbox in the same transaction.

On time: the loop sleeps until the next post is due, at most a tick, and is woken when one is made for now. Any number of replicas do
this side by side; rows that another claims this moment are skipped.

Nothing is claimed that could not be sent soon: not while NATS is away, since the actions would only wait while leases end, and not
beyond what the workers of all replicas hold already.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.context import background_call
from mesh.errors import MeshError
from mesh.tasks import pause_or_stop
from services.bot_manager.publishing.checks import SWITCHED_OFF
from services.bot_manager.publishing.settings import PublishSettings
from services.bot_manager.store.ports import PostLedger
from services.bot_manager.store.publishing import PublishingQueries

BATCH: Final = 500
AT_ONCE: Final = timedelta()
SATURATED: Final = timedelta(milliseconds=100)
"""Pause while the workers hold as many posts as they may."""
SHORTEST: Final = timedelta(milliseconds=1)
SWITCH_LOOK: Final = timedelta(milliseconds=500)
"""Longest pause while publishing is switched off, so that switching it on takes less than a second."""


class Claimer:
    """`connected` tells whether actions can leave."""

    def __init__(
        self,
        ledger: PostLedger,
        queries: PublishingQueries,
        worker: str,
        settings: Callable[[], PublishSettings],
        connected: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._queries = queries
        self._worker = worker
        self._settings = settings
        self._connected = connected
        self._clock = clock
        self._woken = asyncio.Event()
        self._told: datetime | None = None

    def wake(self) -> None:
        """Look now: a post may be due."""
        self._woken.set()

    async def run(self) -> None:
        """Claim until cancelled."""
        while True:
            self._woken.clear()
            pause = await self._look()
            if pause > AT_ONCE:
                await pause_or_stop(pause, self._woken, self._clock)

    async def _look(self) -> timedelta:
        """Claim what is due; how long to pause."""
        settings = self._settings()
        if settings.enabled and not self._connected():
            return settings.tick
        try:
            with background_call("bot_manager/claim"):
                if settings.enabled:
                    self._told = None
                    return await self.claim(settings)
                return await self._tell_why(settings)
        except MeshError as error:
            logger.bind(reason=error.reason).warning("claiming waits")
            return settings.tick

    async def _tell_why(self, settings: PublishSettings) -> timedelta:
        """Publishing is switched off: nothing is claimed, and the stories of due posts say so."""
        told = await self._ledger.note_waiting(SWITCHED_OFF, self._clock.now(), self._told, BATCH)
        if told is None:
            return min(settings.tick, SWITCH_LOOK)
        self._told = told
        return AT_ONCE

    async def claim(self, settings: PublishSettings) -> timedelta:
        """One look: claim up to a batch; the pause until the next look."""
        limit = min(BATCH, settings.max_claimed - await self._queries.held_count())
        if limit <= 0:
            return SATURATED
        claims = await self._ledger.claim_due(self._worker, self._clock.now(), settings.lease, limit)
        if claims:
            logger.bind(count=len(claims)).debug("posts claimed")
        if len(claims) == limit:
            return AT_ONCE
        now = self._clock.now()
        due = await self._ledger.next_due(now)
        return settings.tick if due is None else min(settings.tick, max(due - now, SHORTEST))
