"""Destroys the secrets of bots that were archived or deleted, and gives their tokens back to X.

Archiving itself writes what is to be done (`store/secret_destructions.py`); this loop does it until it has succeeded, in every replica,
since destroying twice does no harm. It is done twice on purpose: at once, and again when nothing can be stored any more that was on its
way at the end. Telling X is tried once each time: tokens that X still knows and nobody has are no danger.
"""

import asyncio
from datetime import timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from loguru import logger

from mesh.channels import invoke
from mesh.clock import Clock
from mesh.context import background_call
from mesh.errors import Aborted, DeadlineExceeded, MeshError, ResourceExhausted, Unavailable
from mesh.secret import Secret
from mesh.tasks import Backoff, pause_or_stop
from services.bot_manager.domain.model import OAUTH2
from services.bot_manager.store.ports import SecretDestruction, SecretDestructions
from services.bot_manager.tokens.keeping import SECRET_NAME as TOKENS_NAME
from services.bot_manager.tokens.port import ACCESS_TOKEN, CodeEndpoint
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2

TICK: Final = timedelta(seconds=5)
BATCH: Final = 100
CALL_TIMEOUT: Final = timedelta(seconds=10)
LEASE: Final = timedelta(minutes=1)
TRY_AGAIN: Final = (Aborted, DeadlineExceeded, ResourceExhausted, Unavailable)
"""Among them LEASES_REVOKED: the leases of the same bot are being ended at the same time."""
AWAY: Final = Backoff(first=timedelta(milliseconds=500), most=timedelta(seconds=30))


class SecretDestroyer:
    """`secrets` is a stub of BotSecretService."""

    def __init__(self, list_: SecretDestructions, secrets: Any, endpoint: CodeEndpoint, clock: Clock) -> None:
        self._list = list_
        self._secrets = secrets
        self._endpoint = endpoint
        self._clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look now: a bot was archived or deleted."""
        self._woken.set()

    async def run(self) -> None:
        """Destroy until cancelled. Survives the loss of the database, of secure_bot_data and of X."""
        failures = 0
        while True:
            self._woken.clear()
            try:
                await self.destroy_due()
            except MeshError as error:
                failures += 1
                if failures == 1:
                    logger.bind(reason=error.reason).warning("secrets of archived bots wait to be destroyed")
                await self._clock.sleep(AWAY.pause(failures))
            else:
                failures = 0
                await pause_or_stop(TICK, self._woken, self._clock)

    async def destroy_due(self) -> None:
        """One round. Raises Unavailable at once, any other MeshError when the others have had their turn."""
        refused: MeshError | None = None
        for destruction in await self._list.due(BATCH):
            try:
                with background_call("bot_manager/destroy secrets", bot_id=destruction.bot_id):
                    await self._destroy(destruction)
            except Unavailable:
                raise
            except MeshError as error:
                refused = error
        if refused is not None:
            raise refused

    async def _destroy(self, destruction: SecretDestruction) -> None:
        if destruction.kind == OAUTH2:
            await self._give_back(destruction.bot_id)
        request = pb2.DestroyBotSecretsRequest(bot_id=destruction.bot_id, reason=destruction.reason)
        answer: pb2.DestroyBotSecretsResponse = await invoke(
            self._secrets.DestroyBotSecrets, request, timeout=CALL_TIMEOUT
        )
        logger.bind(bot_id=destruction.bot_id, count=answer.destroyed_count, again=destruction.again).info(
            "secrets of bot destroyed"
        )
        await self._list.done(destruction)

    async def _give_back(self, bot_id: str) -> None:
        """Tell X, once; whatever comes of it, the secrets go. Raises TRY_AGAIN where secure_bot_data does not lend them just now."""
        ttl = Duration()
        ttl.FromTimedelta(LEASE)
        request = pb2.LeaseBotSecretRequest(
            bot_id=bot_id, name=TOKENS_NAME, ttl=ttl, reason="give the tokens back to X"
        )
        try:
            answer: pb2.LeaseBotSecretResponse = await invoke(
                self._secrets.LeaseBotSecret, request, timeout=CALL_TIMEOUT
            )
        except TRY_AGAIN:
            raise
        except MeshError:
            return
        fields = {name: Secret(value) for name, value in answer.fields.items()}
        if ACCESS_TOKEN not in fields:
            return
        try:
            await self._endpoint.revoke(fields)
        except MeshError as error:
            logger.bind(bot_id=bot_id, reason=error.reason).warning("tokens not given back to X")
