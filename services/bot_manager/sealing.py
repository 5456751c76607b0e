"""What this service keeps encrypted in its database: only it, and only for the same record, can have it opened again by secure_bot_data."""

from datetime import timedelta
from typing import Any, Final

from mesh.channels import invoke
from mesh.secret import Secret
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2

CALL_TIMEOUT: Final = timedelta(seconds=5)


class MeshSealer:
    """`secrets` is a stub of BotSecretService, `kind` names the records, so that a ciphertext of one kind opens nothing of another."""

    def __init__(self, secrets: Any, kind: str) -> None:
        self._secrets = secrets
        self._kind = kind

    async def seal(self, value: Secret, record_id: str) -> str:
        """A ciphertext for this record. Raises Unavailable (VAULT_UNAVAILABLE and the like)."""
        request = pb2.EncryptRequest(plaintext=value.reveal().encode(), context=self._context(record_id))
        answer: pb2.EncryptResponse = await invoke(self._secrets.Encrypt, request, timeout=CALL_TIMEOUT)
        return answer.ciphertext

    async def open(self, ciphertext: str, record_id: str) -> Secret:
        """What was sealed. Raises Unavailable, InvalidArgument (DECRYPTION_FAILED) for anything else."""
        request = pb2.DecryptRequest(ciphertext=ciphertext, context=self._context(record_id))
        answer: pb2.DecryptResponse = await invoke(self._secrets.Decrypt, request, timeout=CALL_TIMEOUT)
        return Secret(answer.plaintext.decode())

    def _context(self, record_id: str) -> str:
        return f"{self._kind}/{record_id}"
