"""Keeps the catalogue equal to the vault, whatever dies in between.

The vault holds the record of a secret, description included; PostgreSQL holds a copy that can be listed. No transaction spans both, so
each change goes in this order:

    announce (commit)  →  change the vault (compare-and-set)  →  record and forget the announcement (one commit, with the audit record)

A process that dies before the second step has changed nothing; one that dies after it leaves the announcement. `sweep` finds
announcements older than `GRACE`, looks into the vault and copies what is there. Looking is idempotent and changes no version,
so doing it beside a writer that is only slow is harmless; the announcement goes when it is older than any call can last
(`SETTLED`). A sealed vault just delays it. Values are not needed for this and are not decrypted.

Labels (`labels`) follow the catalogue: a write that changes them keeps its announcement until they are shown. They are a help for
people, so failing to show them fails nothing; the sweep tries again until the announcement goes.
"""

from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import Internal, MeshError, NotFound, Unavailable
from services.secure_bot_data.domain.labels import labels_of
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

    async def label(self, ref: SecretRef, *, marker_id: str | None = None) -> None:
        """Shows people who look into the vault what the catalogue knows. A failure is logged and raised to nobody."""

        async def write(metadata: SecretMetadata) -> None:
            await self._vault.label(ref, labels_of(metadata))

        try:
            await self._catalogue.label(ref, write, marker_id=marker_id)
        except MeshError as error:
            secret = logger.bind(bot_id=ref.bot_id, secret_name=ref.name)
            secret.bind(reason=error.reason).warning("secret not labelled")

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
                await self._repair(marker.ref, marker.id if over else None)
            except Unavailable:
                raise
            except MeshError as error:
                # One secret that was tampered with must not keep the others waiting, nor come up for ever.
                hopeless = over and isinstance(error, Internal)
                secret.bind(reason=error.reason, given_up=hopeless).warning("secret not settled")
                if hopeless:
                    await self._catalogue.withdraw(marker.id)
            else:
                secret.debug("secret settled")

    async def _repair(self, ref: SecretRef, marker_id: str | None) -> None:
        # Never for what a vault restored from a backup has lost: a label would make an empty entry there.
        if await self.settle(ref) is not None and await self._is_kept(ref):
            await self.label(ref)
        if marker_id is not None:
            await self._catalogue.withdraw(marker_id)

    async def _is_kept(self, ref: SecretRef) -> bool:
        try:
            await self._vault.facts(ref)
        except NotFound:
            return False
        return True

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
