"""Signs statements about the chain with a key that never leaves the vault, and knows the public halves of all its versions.

After a rotation the newest version signs; notes of earlier ones verify as long as the vault keeps those versions.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from mesh.errors import Internal
from mesh.vault import Transit
from services.logging.domain.notes import Statement, VerifierKey, compose, origin
from services.logging.store.statements import Signed

KEY: Final = "audit-chain"


class Signer(Protocol):
    """Makes signed statements. Both methods raise Unavailable while the vault is away."""

    async def sign(self, statement: Statement) -> Signed:
        """The statement with its note."""

    async def keys(self, chain: str) -> tuple[VerifierKey, ...]:
        """The keys that notes of this chain may be signed by, the newest last."""


class VaultSigner:
    """Signer on Transit."""

    def __init__(self, transit: Transit) -> None:
        self._transit = transit
        self._public: Mapping[int, bytes] = {}

    async def sign(self, statement: Statement) -> Signed:
        """See Signer."""
        text = statement.text()
        made = await self._transit.sign(KEY, text.encode())
        if made.version not in self._public:
            self._public = await self._transit.public_keys(KEY)
        key = VerifierKey(origin(statement.chain), self._public.get(made.version, b""))
        if not key.accepts(text, made.signature):
            raise Internal("INTERNAL", "the secret store's signature does not verify")
        return Signed(statement, compose(text, key, made.signature), str(key))

    async def keys(self, chain: str) -> tuple[VerifierKey, ...]:
        """See Signer."""
        self._public = await self._transit.public_keys(KEY)
        return tuple(VerifierKey(origin(chain), public) for public in self._public.values())
