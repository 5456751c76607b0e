"""The verifier of a connect flow, encrypted by secure_bot_data: only this service, and only for the same flow, can open it again."""

from datetime import timedelta
from typing import Any, Final, Protocol

from mesh.channels import invoke
from mesh.secret import Secret
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2

CALL_TIMEOUT: Final = timedelta(seconds=5)


class Sealer(Protocol):
    """Encrypts what is kept in the database. Both raise Unavailable."""

    async def seal(self, value: Secret, connect_id: str) -> str:
        """A ciphertext for this flow."""
        ...

    async def open(self, ciphertext: str, connect_id: str) -> Secret:
        """What was sealed. Raises InvalidArgument for anything else."""
        ...


class MeshSealer:
    """Implements Sealer. `secrets` is a stub of BotSecretService."""

    def __init__(self, secrets: Any) -> None:
        self._secrets = secrets

    async def seal(self, value: Secret, connect_id: str) -> str:
        """See the port."""
        request = pb2.EncryptRequest(plaintext=value.reveal().encode(), context=_context(connect_id))
        answer: pb2.EncryptResponse = await invoke(self._secrets.Encrypt, request, timeout=CALL_TIMEOUT)
        return answer.ciphertext

    async def open(self, ciphertext: str, connect_id: str) -> Secret:
        """See the port."""
        request = pb2.DecryptRequest(ciphertext=ciphertext, context=_context(connect_id))
        answer: pb2.DecryptResponse = await invoke(self._secrets.Decrypt, request, timeout=CALL_TIMEOUT)
        return Secret(answer.plaintext.decode())


def _context(connect_id: str) -> str:
    return f"oauth_connect/{connect_id}"
