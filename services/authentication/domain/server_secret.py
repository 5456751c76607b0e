"""The secret that this service derives keys from: 256 bits, made once, sealed by the vault, opened once and kept in memory.

All replicas have the same one, so what is derived from it (the successor of a refresh token, the mark of a known device) is the same
whichever of them answers, and nothing that could be used has to be stored.
"""

import asyncio
import hmac
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import InvalidArgument, MeshError, Unavailable
from services.authentication.store.ports import Sealer, Store

NAME: Final = "derivation"
SIZE_BYTES: Final = 32
RETRY_INTERVAL: Final = timedelta(seconds=1)
_BINDING: Final = b"sealed-key:derivation"


class ServerSecret:
    """Gives keys by purpose once `refresh` has gone well."""

    def __init__(
        self, store: Store, sealer: Sealer, clock: Clock, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._random = random
        self._secret: bytes | None = None
        self._refreshing = asyncio.Lock()

    def key(self, purpose: bytes) -> bytes:
        """32 bytes for one purpose, which tell nothing of those for another. Raises Unavailable (VAULT_UNAVAILABLE)."""
        if self._secret is None:
            raise Unavailable(
                "VAULT_UNAVAILABLE",
                "a key cannot be opened while the vault is away",
                retry_after=RETRY_INTERVAL,
            )
        return hmac.digest(self._secret, purpose, "sha256")

    async def refresh(self) -> None:
        """Read and open the secret, or make it. Raises Unavailable."""
        async with self._refreshing:
            if self._secret is not None:
                return
            sealed = await self._read()
            if sealed is None:
                made = await self._sealer.seal(self._random(SIZE_BYTES), _BINDING)
                async with self._store.transaction() as unit:
                    await unit.keys.insert_sealed(NAME, made, self._clock.now())
                sealed = await self._read() or made  # another replica may have been first
            try:
                self._secret = await self._sealer.open(sealed, _BINDING)
            except InvalidArgument:
                logger.error("the server secret does not open with this vault")
                raise Unavailable("VAULT_UNAVAILABLE", "a key does not open with this vault") from None

    async def run(self) -> None:
        """`refresh`, again and again until it goes well."""
        while self._secret is None:
            try:
                await self.refresh()
            except MeshError as error:
                logger.bind(reason=error.reason).warning("server secret not opened")
                await self._clock.sleep(RETRY_INTERVAL)

    async def _read(self) -> str | None:
        async with self._store.read() as unit:
            return await unit.keys.sealed(NAME)
