"""Values that other services keep themselves, encrypted with the Transit key `service-values`.

The key is derived for the caller's identity, and the record's name is associated data: a ciphertext opens only for the service it was
made for and as the record it belongs to. Nothing is stored here.
"""

from typing import Final

from mesh.errors import FailedPrecondition, InvalidArgument
from mesh.vault import Transit, VaultClient

TRANSIT_KEY: Final = "service-values"


class ServiceValues:
    """Encrypts and decrypts for whoever calls; `identity` is the caller's SPIFFE ID, `context` the name of its record."""

    def __init__(self, client: VaultClient) -> None:
        self._transit: Transit = client.transit()

    async def encrypt(self, identity: str, context: str, plaintext: bytes) -> str:
        """The ciphertext, another one each time. Raises Unavailable or ResourceExhausted."""
        return await self._transit.encrypt(
            TRANSIT_KEY, plaintext, context=identity.encode(), associated_data=context.encode()
        )

    async def decrypt(self, identity: str, context: str, ciphertext: str) -> bytes:
        """The plaintext. As `encrypt`; also InvalidArgument INVALID_FIELD for anything not made for this identity and context."""
        try:
            return await self._transit.decrypt(
                TRANSIT_KEY, ciphertext, context=identity.encode(), associated_data=context.encode()
            )
        except (InvalidArgument, FailedPrecondition):
            # Which of them it was is the vault's to know: another key, another record, a version of the key that never was.
            pass
        raise InvalidArgument(
            "INVALID_FIELD", "ciphertext is not one of this caller and context", field="ciphertext"
        )
