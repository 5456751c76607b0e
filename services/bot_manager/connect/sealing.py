"""Port for the verifier of a connect flow, which is kept encrypted; `services/bot_manager/sealing.py` does it."""

from typing import Final, Protocol

from mesh.secret import Secret

KIND: Final = "oauth_connect"


class Sealer(Protocol):
    """Encrypts what is kept in the database. Both raise Unavailable."""

    async def seal(self, value: Secret, record_id: str) -> str:
        """A ciphertext for this flow."""
        ...

    async def open(self, ciphertext: str, record_id: str) -> Secret:
        """What was sealed. Raises InvalidArgument for anything else."""
        ...
