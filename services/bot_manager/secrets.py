"""Credentials at secure_bot_data: given for keeping, borrowed for one call. Implements `domain.credentials.SecretKeeper`."""

from datetime import timedelta
from typing import Any, Final

from mesh.channels import invoke
from services.bot_manager.convert.common import from_time
from services.bot_manager.domain.credentials import Borrowed
from services.bot_manager.domain.given import Given
from services.bot_manager.domain.model import OAUTH1, OAUTH2
from services.bot_manager.publishing.assembly import Publisher
from services.bot_manager.publishing.leases import SECRET_NAME, LeasedCredentials
from services.bot_manager.tokens.keeping import SECRET_NAME as TOKENS_NAME
from vivesphere.secure_bot_data.v1 import bot_secret_pb2, bot_secret_service_pb2

STORE_TIMEOUT: Final = timedelta(seconds=10)
KINDS: Final = {
    OAUTH1: (SECRET_NAME, bot_secret_pb2.SECRET_KIND_X_OAUTH1),
    OAUTH2: (TOKENS_NAME, bot_secret_pb2.SECRET_KIND_X_OAUTH2),
}
"""Name and kind of the secret, by kind of credentials. Each name has versions of its own."""


class MeshSecretKeeper:
    """`stub` is one of BotSecretService."""

    def __init__(self, stub: Any, publisher: Publisher) -> None:
        self._stub = stub
        self._publisher = publisher

    async def store(self, bot_id: str, given: Given) -> int:
        """See the port."""
        name, kind = KINDS[given.kind]
        response = await invoke(
            self._stub.StoreBotSecret,
            bot_secret_service_pb2.StoreBotSecretRequest(
                bot_id=bot_id,
                name=name,
                kind=kind,
                fields={name: value.reveal() for name, value in given.fields.items()},
                rotate_time=from_time(given.expire_time),
            ),
            timeout=STORE_TIMEOUT,
        )
        self._publisher.forget(bot_id)
        version: int = response.metadata.version
        return version

    async def lease(self, bot_id: str, reason: str) -> Borrowed:
        """See the port. Borrowed anew: what this process holds may have been replaced through another replica."""
        self._publisher.leases.forget(bot_id)
        return _borrowed(await self._publisher.lease(bot_id, reason))

    async def renew(self, bot_id: str, refused: int, reason: str) -> Borrowed:
        """See the port."""
        self._publisher.leases.refuse(bot_id, refused)
        return _borrowed(await self._publisher.lease(bot_id, reason))


def _borrowed(leased: LeasedCredentials) -> Borrowed:
    return Borrowed(leased.credentials, leased.version)
