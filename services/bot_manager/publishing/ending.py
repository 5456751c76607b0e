"""Ends the leases of bots that were paused or archived, at secure_bot_data and in this process.

The stop itself writes what is to be done (`store/lease_endings.py`); this loop does it until it has succeeded, in every replica, since
ending twice does no harm. It is done twice on purpose: at once, and again when no lease can be granted any more that was asked for before
the stop. A bot that runs again by then is left alone. What another replica holds in memory ends by itself within `LONGEST_TERM`, and
opens nothing meanwhile: an intent to publish is written only while the bot is ACTIVE.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from loguru import logger

from mesh.channels import invoke
from mesh.clock import Clock
from mesh.context import background_call
from mesh.errors import MeshError, Unavailable
from mesh.tasks import Backoff, pause_or_stop
from services.bot_manager.store.ports import LeaseEnding, LeaseEndings
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2

TICK: Final = timedelta(seconds=5)
BATCH: Final = 100
CALL_TIMEOUT: Final = timedelta(seconds=5)
AWAY: Final = Backoff(first=timedelta(milliseconds=500), most=timedelta(seconds=30))


class LeaseEnder:
    """`secrets` is a stub with RevokeBotLeases, `forget` drops what this process holds of a bot."""

    def __init__(
        self, endings: LeaseEndings, secrets: Any, forget: Callable[[str], None], clock: Clock
    ) -> None:
        self._endings = endings
        self._secrets = secrets
        self._forget = forget
        self._clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look now: a bot was stopped."""
        self._woken.set()

    async def run(self) -> None:
        """End until cancelled. Survives the loss of the database and of secure_bot_data."""
        failures = 0
        while True:
            self._woken.clear()
            try:
                await self.end_due()
            except MeshError as error:
                failures += 1
                if failures == 1:
                    logger.bind(reason=error.reason).warning("leases of stopped bots wait to be ended")
                await self._clock.sleep(AWAY.pause(failures))
            else:
                failures = 0
                await pause_or_stop(TICK, self._woken, self._clock)

    async def end_due(self) -> None:
        """One round. Raises Unavailable at once, any other MeshError when the others have had their turn."""
        refused: MeshError | None = None
        for ending in await self._endings.due(BATCH):
            try:
                with background_call("bot_manager/end leases", bot_id=ending.bot_id):
                    await self._end(ending)
            except Unavailable:
                raise
            except MeshError as error:
                refused = error
        if refused is not None:
            raise refused

    async def _end(self, ending: LeaseEnding) -> None:
        if ending.stopped or not ending.again:
            self._forget(ending.bot_id)
            request = bot_secret_service_pb2.RevokeBotLeasesRequest(
                bot_id=ending.bot_id, reason=ending.reason
            )
            answer = await invoke(self._secrets.RevokeBotLeases, request, timeout=CALL_TIMEOUT)
            logger.bind(count=answer.revoked_count, again=ending.again).info("leases of stopped bot ended")
        await self._endings.done(ending)
