"""Keeps the catalogue equal to the vault, whatever dies in between.

The vault holds the record of a secret, description included; PostgreSQL holds a copy that can be listed. No transaction spans both, so
each change goes in this order:

    announce (commit)  →  change the vault (compare-and-set)  →  record and forget the announcement (one commit, with the audit record)

A process that dies before the second step has changed nothing; one that dies after it leaves the announcement. `sweep` finds
announcements older than `GRACE`, looks into the vault and copies what is there. Looking is idempotent and never writes to the
vault, so doing it beside a writer that is only slow is harmless; the announcement goes when it is older than any call can last
(`SETTLED`). A sealed vault just delays it. Values are not needed for this and are not decrypted.
"""

from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError, NotFound, Unavailable
from services.secure_bot_data.domain.model import SecretMetadata, SecretRef
from services.secure_bot_data.domain.ports import Catalogue, Picture, SecretVault

GRACE: Final = timedelta(seconds=5)
SETTLED: Final = timedelta(seconds=90)
"""Longer than the longest deadline of a call (30 s) and the vault's own request limit (90 s)."""
INTERVAL: Final = timedelta(seconds=5)


class Settler:
    """Copies from vault to catalogue."""

    def __init__(self, vault: SecretVault, catalogue: Catalogue, clock: Clock) -> None:
        self._vault = vault
        self._catalogue = catalogue
        self._clock = clock

    async def settle(
        self, ref: SecretRef, *, marker_id: str | None = None, concludes: bool = False
    ) -> SecretMetadata | None:
        """Makes the catalogue's copy of one secret true. None when the vault has no such secret."""

        async def look(known: frozenset[int]) -> Picture | None:
            return await self._look(ref, known)

        return await self._catalogue.copy(ref, look, marker_id=marker_id, concludes=concludes)

    async def run(self) -> None:
        """Sweeps until cancelled. Survives the loss of vault and database."""
        while True:
            try:
                await self.sweep()
            except MeshError as error:
                logger.bind(reason=error.reason).debug("secrets wait to be settled")
            await self._clock.sleep(INTERVAL)

    async def sweep(self) -> None:
        """Settles what was announced a while ago and never concluded. Stops while vault or database are away."""
        now = self._clock.now()
        for marker in await self._catalogue.announced(now - GRACE):
            over = marker.create_time <= now - SETTLED
            secret = logger.bind(bot_id=marker.ref.bot_id, secret_name=marker.ref.name)
            try:
                await self.settle(marker.ref, marker_id=marker.id if over else None)
            except Unavailable:
                raise
            except MeshError as error:
                # One secret that was tampered with must not keep the others waiting.
                secret.bind(reason=error.reason).warning("secret not settled")
            else:
                secret.debug("secret settled")

    async def _look(self, ref: SecretRef, known: frozenset[int]) -> Picture | None:
        try:
            facts = await self._vault.facts(ref)
        except NotFound:
            return None
        descriptions = {}
        for fact in facts:
            if fact.version not in known:
                try:
                    descriptions[fact.version] = await self._vault.describe(ref, fact.version)
                except NotFound:
                    # Deleted before anybody had written down who made it; the version itself is still entered.
                    continue
        return Picture(facts, descriptions)
