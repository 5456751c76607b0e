"""Reads the feeds whose schedules come up soon.

    claim (a short transaction: no other replica reads it now) → fetch → parse → note what is new (another one)

A feed is read for the first time soon after its schedule was made: what it holds then counts as seen, unless its schedule says
otherwise. From then on it is read shortly before each occurrence. One that gives nothing is tried again until the occurrence is made;
what was seen stays as it is.
"""

import asyncio
from datetime import timedelta
from typing import Final, Protocol

from loguru import logger

from mesh.clock import Clock
from mesh.context import background_call
from mesh.errors import MeshError
from mesh.tasks import pause_or_stop
from services.bot_manager.feeds.model import FeedBody, Validators
from services.bot_manager.feeds.parsing import parse
from services.bot_manager.store.feeds import FeedClaim, FeedStore

TICK: Final = timedelta(seconds=5)
BATCH: Final = 8
"""Feeds that one process reads at a time."""


class Fetcher(Protocol):
    """The way to a feed; see FeedFetcher."""

    async def fetch(self, url: str, validators: Validators) -> FeedBody | None: ...


class FeedReader:
    """See the module."""

    def __init__(self, store: FeedStore, fetcher: Fetcher, clock: Clock) -> None:
        self._store = store
        self._fetcher = fetcher
        self._clock = clock
        self._woken = asyncio.Event()
        self._parsing = asyncio.Semaphore()

    def wake(self) -> None:
        """Look now: a schedule with a feed was made or changed, or waits for its feed."""
        self._woken.set()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            self._woken.clear()
            try:
                with background_call("bot_manager/feeds"):
                    while await self.look():
                        pass
            except MeshError as error:
                logger.bind(reason=error.reason).warning("feeds wait")
            await pause_or_stop(TICK, self._woken, self._clock)

    async def look(self) -> int:
        """Read up to a batch of feeds; how many. Raises MeshError if the database is away."""
        claims = await self._store.claim(self._clock.now(), BATCH)
        await asyncio.gather(*(self._read(claim) for claim in claims))
        return len(claims)

    async def _read(self, claim: FeedClaim) -> None:
        try:
            body = await self._fetcher.fetch(claim.url, claim.validators)
            async with self._parsing:
                items = None if body is None else await parse(body)
        except MeshError as error:
            logger.bind(schedule_id=claim.schedule_id, told=error.message).warning("feed not read")
            await self._store.note_failure(claim, error.message)
            return
        now = self._clock.now()
        if body is None or items is None:
            await self._store.note_unchanged(claim, now)
            return
        fresh = await self._store.note_items(claim, items, body.validators, now)
        logger.bind(schedule_id=claim.schedule_id, items=len(items), fresh=fresh).debug("feed read")
