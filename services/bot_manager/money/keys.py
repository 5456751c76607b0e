"""Secrets of apps at secure_bot_data: kind X_APP, under the app's own id. Implements `domain.apps.AppSecrets`."""

from datetime import timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from mesh.channels import invoke
from mesh.errors import FailedPrecondition, NotFound
from mesh.secret import Secret
from services.bot_manager.domain.apps import Fields, StoredSecrets
from vivesphere.secure_bot_data.v1 import bot_secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2

SECRET_NAME: Final = "x_app"  # noqa: S105 - the name under which it is kept, not a secret
READ_TIMEOUT: Final = timedelta(seconds=3)
WRITE_TIMEOUT: Final = timedelta(seconds=4)
"""Together less than a transaction may take, since changes of an app wait for both."""
ANY: Final = -1
"""In place of a version that cannot be read: whatever is current."""
GONE: Final = frozenset({"SECRET_DELETED", "SECRET_DESTROYED", "SECRET_EXPIRED"})


class MeshAppSecrets:
    """`stub` is one of BotSecretService."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    async def read(self, app_id: str) -> StoredSecrets:
        """See the port. What was deleted over there is none, and may be replaced."""
        request = pb2.LeaseBotSecretRequest(
            bot_id=app_id, name=SECRET_NAME, ttl=Duration(seconds=5), reason="change the app's keys"
        )
        try:
            answer = await invoke(self._stub.LeaseBotSecret, request, timeout=READ_TIMEOUT)
        except NotFound:
            return StoredSecrets()
        except FailedPrecondition as error:
            if error.reason not in GONE:
                raise
            return StoredSecrets(ANY)
        return StoredSecrets(answer.version, {name: Secret(value) for name, value in answer.fields.items()})

    async def store(self, app_id: str, fields: Fields, expected: int) -> int:
        """See the port."""
        answer = await invoke(
            self._stub.StoreBotSecret,
            pb2.StoreBotSecretRequest(
                bot_id=app_id,
                name=SECRET_NAME,
                kind=bot_secret_pb2.SECRET_KIND_X_APP,
                fields={name: value.reveal() for name, value in fields.items()},
                expected_version=None if expected == ANY else expected,
            ),
            timeout=WRITE_TIMEOUT,
        )
        version: int = answer.metadata.version
        return version

    async def destroy(self, app_id: str) -> None:
        """See the port."""
        request = pb2.DestroyBotSecretsRequest(bot_id=app_id, reason="the app was deleted")
        await invoke(self._stub.DestroyBotSecrets, request, timeout=WRITE_TIMEOUT)
