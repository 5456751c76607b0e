"""OAuth 2.0 clients of the developer apps: their ids stand with the apps, their secrets at secure_bot_data (kind X_APP)."""

from datetime import timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from mesh.channels import invoke
from mesh.errors import FailedPrecondition, NotFound
from mesh.secret import Secret
from services.bot_manager.tokens.port import AppClients
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2

APP_SECRET_NAME: Final = "x_app"  # noqa: S105 - the name under which it is kept, not a secret
LEASE_SECONDS: Final = 60
CALL_TIMEOUT: Final = timedelta(seconds=5)
NO_SECRET: Final = frozenset({"SECRET_DELETED", "SECRET_DESTROYED", "SECRET_EXPIRED"})


class MeshClientKeys:
    """Implements ClientKeys. `secrets` is a stub of BotSecretService."""

    def __init__(self, apps: AppClients, secrets: Any) -> None:
        self._apps = apps
        self._secrets = secrets

    async def secret_of(self, client_id: str) -> Secret | None:
        """See the port."""
        app_id = await self._apps.app_of(client_id)
        if not app_id:
            return None
        request = pb2.LeaseBotSecretRequest(
            bot_id=app_id,
            name=APP_SECRET_NAME,
            ttl=Duration(seconds=LEASE_SECONDS),
            reason="prove the app's client to X",
        )
        try:
            answer: pb2.LeaseBotSecretResponse = await invoke(
                self._secrets.LeaseBotSecret, request, timeout=CALL_TIMEOUT
            )
        except NotFound:
            return None
        except FailedPrecondition as error:
            if error.reason in NO_SECRET:
                return None
            raise
        value = answer.fields.get("client_secret", "")
        return Secret(value) if value else None
