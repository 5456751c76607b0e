"""Destroys the secrets of bots that were archived or deleted, and gives their tokens back to X.

Archiving itself writes what is to be done (`store/secret_destructions.py`); this loop does it until it has succeeded, in every replica,
since destroying twice does no harm. It is done twice on purpose: at once, and again when nothing can be stored any more that was on its
way at the end. Telling X is tried once each time: tokens that X still knows and nobody has are no danger.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from loguru import logger

from mesh.channels import invoke
from mesh.clock import Clock
from mesh.errors import Aborted, DeadlineExceeded, MeshError, ResourceExhausted, Unavailable
from mesh.secret import Secret
from services.bot_manager.domain.model import OAUTH2
from services.bot_manager.publishing.duties import DutyWorker
from services.bot_manager.store.ports import SecretDestruction, SecretDestructions
from services.bot_manager.tokens.keeping import SECRET_NAME as TOKENS_NAME
from services.bot_manager.tokens.port import ACCESS_TOKEN, CodeEndpoint
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2

CALL_TIMEOUT: Final = timedelta(seconds=10)
LEASE: Final = timedelta(minutes=1)
TRY_AGAIN: Final = (Aborted, DeadlineExceeded, ResourceExhausted, Unavailable)
"""Among them LEASES_REVOKED: the leases of the same bot are being ended at the same time."""


class SecretDestroyer(DutyWorker[SecretDestruction]):
    """`secrets` is a stub of BotSecretService."""

    name = "bot_manager/destroy secrets"

    def __init__(self, list_: SecretDestructions, secrets: Any, endpoint: CodeEndpoint, clock: Clock) -> None:
        super().__init__(clock)
        self._list = list_
        self._secrets = secrets
        self._endpoint = endpoint

    async def due(self, limit: int) -> Sequence[SecretDestruction]:
        """See DutyWorker."""
        return await self._list.due(limit)

    async def do(self, duty: SecretDestruction) -> None:
        """Destroy what the bot has."""
        if duty.kind == OAUTH2:
            await self._give_back(duty.bot_id)
        request = pb2.DestroyBotSecretsRequest(bot_id=duty.bot_id, reason=duty.reason)
        answer: pb2.DestroyBotSecretsResponse = await invoke(
            self._secrets.DestroyBotSecrets, request, timeout=CALL_TIMEOUT
        )
        logger.bind(bot_id=duty.bot_id, count=answer.destroyed_count, again=duty.again).info(
            "secrets of bot destroyed"
        )
        await self._list.done(duty)

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
