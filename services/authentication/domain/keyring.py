"""The signing keys in use: the first one is made here, the private one is opened once and kept in memory.

Everything comes from the store; the vault is asked only to seal a new key and to open one that this process has not opened yet. So
with the vault away a running process goes on signing, and one that starts then serves the public keys and answers Unavailable
to whoever wants to sign in, until the vault is back. Replicas that start side by side may all make a first key; the store takes one, and
the others read it.

    run:  read keys ─▶ none active? make one ─▶ not open? open it ─▶ wait ─┐
            ▲──────────────────────────────────────────────────────────────┘
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from loguru import logger

from mesh.clock import Clock
from mesh.errors import InvalidArgument, MeshError, Unavailable
from services.authentication.domain.signing import (
    KeyState,
    SigningKey,
    binding,
    jwks,
    private_bytes,
    thumbprint,
)
from services.authentication.domain.tokens import Signer
from services.authentication.store.ports import Sealer, Store

REFRESH_INTERVAL: Final = timedelta(seconds=30)
RETRY_INTERVAL: Final = timedelta(seconds=1)


class Keyring:
    """Signs, and knows what verifies. `run` keeps it fresh."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        clock: Clock,
        generate: Callable[[], Ed25519PrivateKey] = Ed25519PrivateKey.generate,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._generate = generate
        self._keys: tuple[SigningKey, ...] = ()
        self._signer: Signer | None = None

    def signer(self) -> Signer:
        """The open key that signs now. Raises Unavailable (VAULT_UNAVAILABLE)."""
        if self._signer is None:
            raise Unavailable(
                "VAULT_UNAVAILABLE",
                "the signing key cannot be opened while the vault is away",
                retry_after=RETRY_INTERVAL,
            )
        return self._signer

    def verifiers(self) -> dict[str, Ed25519PublicKey]:
        """Public keys by id."""
        return {key.id: key.verifier() for key in self._keys}

    async def document(self) -> bytes:
        """The public key set (RFC 7517). Raises Unavailable while there is no key at all."""
        if not self._keys:
            await self._read()
        if not self._keys:
            self.signer()
        return jwks(self._keys)

    async def check(self) -> None:
        """Raises Unavailable unless tokens can be signed."""
        self.signer()

    async def refresh(self) -> None:
        """Read the keys, make the first one, open the active one. Raises Unavailable."""
        await self._read()
        active = self._active()
        if active is None:
            await self._make_first()
            active = self._active()
        if active is not None and (self._signer is None or self._signer.key_id != active.id):
            self._signer = await self._open(active)

    async def run(self) -> None:
        """Refresh for ever; every second while something is missing."""
        while True:
            pause = REFRESH_INTERVAL
            try:
                await self.refresh()
            except MeshError as error:
                logger.bind(reason=error.reason).warning("signing keys not refreshed")
                pause = RETRY_INTERVAL
            await self._clock.sleep(pause)

    def _active(self) -> SigningKey | None:
        return next((key for key in self._keys if key.state is KeyState.ACTIVE), None)

    async def _read(self) -> None:
        async with self._store.read() as unit:
            self._keys = tuple(await unit.keys.list())

    async def _make_first(self) -> None:
        private = self._generate()
        public = private.public_key().public_bytes_raw()
        key_id, now = thumbprint(public), self._clock.now()
        sealed = await self._sealer.seal(private_bytes(private), binding(key_id))
        key = SigningKey(key_id, KeyState.ACTIVE, public, sealed, now, now)
        async with self._store.transaction() as unit:
            inserted = await unit.keys.insert(key)
        if inserted:
            logger.bind(key_id=key_id).info("signing key made")
            self._signer = Signer(key_id, private)
        await self._read()

    async def _open(self, key: SigningKey) -> Signer:
        try:
            raw = await self._sealer.open(key.sealed_private_key, binding(key.id))
        except InvalidArgument:
            # Another vault than the one that sealed it. Nothing heals by itself, but the old key may come back with its vault.
            logger.bind(key_id=key.id).error("signing key does not open with this vault")
            raise Unavailable("VAULT_UNAVAILABLE", "the signing key does not open with this vault") from None
        private = Ed25519PrivateKey.from_private_bytes(raw)
        if thumbprint(private.public_key().public_bytes_raw()) != key.id:
            raise Unavailable("VAULT_UNAVAILABLE", "the sealed signing key is not the one of its row")
        logger.bind(key_id=key.id).info("signing key opened")
        return Signer(key.id, private)
