"""Which processes are watching through this one, written to the database every few seconds in one statement.

Kept apart from the streams: while the database is away nobody's stream ends for it, and the entries catch up later.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.tasks import set_within
from services.configuration.store.ports import Instances

REPORT_INTERVAL = timedelta(seconds=8)
"""`last_seen_time` is promised to be at most 10 seconds behind."""


class Presence:
    """The streams open here."""

    def __init__(self, instances: Instances, clock: Clock) -> None:
        self._instances = instances
        self._clock = clock
        self._connected: dict[tuple[str, str], datetime] = {}
        self._gone: list[tuple[str, str, datetime]] = []
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def connected(self, service: str, instance: str) -> AsyncIterator[None]:
        """The instance counts as connected inside the block."""
        since = self._clock.now()
        key = (service, instance)
        self._connected[key] = since
        self._changed.set()
        try:
            yield
        finally:
            if self._connected.get(key) == since:
                del self._connected[key]
            self._gone.append((service, instance, since))
            self._changed.set()

    async def run(self) -> None:
        """Report changes at once and everybody every eight seconds, until cancelled."""
        while True:
            self._changed.clear()
            try:
                await self._report()
            except MeshError as error:
                logger.bind(reason=error.reason).debug("presence not reported")
                await self._clock.sleep(timedelta(seconds=1))
            await set_within(self._changed, REPORT_INTERVAL)

    async def _report(self) -> None:
        while self._gone:
            await self._instances.left(*self._gone[-1])
            self._gone.pop()
        connected = [(service, instance, since) for (service, instance), since in self._connected.items()]
        await self._instances.saw(connected, self._clock.now())
