"""Ends the leases of bots that were paused or archived, at secure_bot_data and in this process.

The stop itself writes what is to be done (`store/lease_endings.py`); this loop does it until it has succeeded, in every replica, since
ending twice does no harm. It is done twice on purpose: at once, and again when no lease can be granted any more that was asked for before
the stop. A bot that runs again by then is left alone. What another replica holds in memory ends by itself within `LONGEST_TERM`, and
opens nothing meanwhile: an intent to publish is written only while the bot is ACTIVE.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from loguru import logger

from mesh.channels import invoke
from mesh.clock import Clock
from services.bot_manager.publishing.duties import DutyWorker
from services.bot_manager.store.ports import LeaseEnding, LeaseEndings
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2

CALL_TIMEOUT: Final = timedelta(seconds=5)


class LeaseEnder(DutyWorker[LeaseEnding]):
    """`secrets` is a stub with RevokeBotLeases, `forget` drops what this process holds of a bot."""

    name = "bot_manager/end leases"

    def __init__(
        self, endings: LeaseEndings, secrets: Any, forget: Callable[[str], None], clock: Clock
    ) -> None:
        super().__init__(clock)
        self._endings = endings
        self._secrets = secrets
        self._forget = forget

    async def due(self, limit: int) -> Sequence[LeaseEnding]:
        """See DutyWorker."""
        return await self._endings.due(limit)

    async def do(self, duty: LeaseEnding) -> None:
        """End what the bot holds, unless it runs again."""
        if duty.stopped or not duty.again:
            self._forget(duty.bot_id)
            request = bot_secret_service_pb2.RevokeBotLeasesRequest(bot_id=duty.bot_id, reason=duty.reason)
            answer = await invoke(self._secrets.RevokeBotLeases, request, timeout=CALL_TIMEOUT)
            logger.bind(count=answer.revoked_count, again=duty.again).info("leases of stopped bot ended")
        await self._endings.done(duty)
