"""Credentials at secure_bot_data: given for keeping, borrowed for one call. Implements `domain.credentials.SecretKeeper`."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from mesh.channels import invoke
from mesh.secret import Secret
from services.bot_manager.publishing.assembly import Publisher
from services.bot_manager.publishing.leases import SECRET_NAME
from services.bot_manager.x.port import OAuth1Credentials
from vivesphere.secure_bot_data.v1 import bot_secret_pb2, bot_secret_service_pb2

STORE_TIMEOUT: Final = timedelta(seconds=10)


class MeshSecretKeeper:
    """`stub` is one of BotSecretService."""

    def __init__(self, stub: Any, publisher: Publisher) -> None:
        self._stub = stub
        self._publisher = publisher

    async def store(self, bot_id: str, fields: Mapping[str, Secret]) -> int:
        """See the port."""
        response = await invoke(
            self._stub.StoreBotSecret,
            bot_secret_service_pb2.StoreBotSecretRequest(
                bot_id=bot_id,
                name=SECRET_NAME,
                kind=bot_secret_pb2.SECRET_KIND_X_OAUTH1,
                fields={name: value.reveal() for name, value in fields.items()},
            ),
            timeout=STORE_TIMEOUT,
        )
        self._publisher.forget(bot_id)
        version: int = response.metadata.version
        return version

    async def lease(self, bot_id: str, reason: str) -> OAuth1Credentials:
        """See the port. Borrowed anew: what this process holds may have been replaced through another replica."""
        self._publisher.leases.forget(bot_id)
        return (await self._publisher.lease(bot_id, reason)).credentials
