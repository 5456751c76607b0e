"""The key of all secrets: telling its versions, making new ones, retiring old ones.

Retiring never takes a value from anybody who could read it: it is refused while the catalogue knows a version, current or earlier, ACTIVE
or DELETED, that needs an older key, or does not know which key one needs (`key_version` 0; a rewrap job looks that up). Nothing new ever
comes under an old key: every ciphertext is made by `SecretVault.seal`, with the newest version, and its number is authenticated, so a
rollback cannot carry an old ciphertext over. What remains is a writer that sealed before the newest version was made and has not recorded
yet. It has announced itself before it touches the vault, so announcements from before the time at which every such writer has ended
(`SETTLED` after the key was made) count as uses until they are concluded. Only the moment between sealing and announcing is uncovered;
a version that slipped through it is not lost: the vault keeps the retired key, and its administrator can lower the bound again.
"""

from dataclasses import dataclass
from typing import Final

from mesh.errors import Aborted, FailedPrecondition, InvalidArgument, OutcomeUnknown
from services.secure_bot_data.domain.key_ports import KeyCatalogue, KeyVault
from services.secure_bot_data.domain.model import SecretKey
from services.secure_bot_data.domain.settling import SETTLED

FIELD: Final = "min_decryption_version"


@dataclass(frozen=True, slots=True)
class KeyKeeper:
    """Changes the key; one change at a time in the whole fleet."""

    vault: KeyVault
    catalogue: KeyCatalogue

    async def rotate(self, expected: int | None) -> SecretKey:
        """Makes a new version and returns the key with it; `expected` is the version that must be the newest, None for whichever is.

        Raises Aborted VERSION_MISMATCH, OutcomeUnknown when the vault may have made one, and what the vault and the catalogue raise.
        """
        async with self.catalogue.changing_key():
            before = await self.vault.key()
            if expected is not None and expected != before.latest:
                raise Aborted("VERSION_MISMATCH", "the key has another version than expected")
            try:
                await self.vault.rotate_key()
            except OutcomeUnknown as unknown:
                if (await self.vault.key()).latest == before.latest:
                    raise unknown from None
            return await self.vault.key()

    async def retire(self, least: int) -> SecretKey:
        """Makes the vault refuse to decrypt with versions below `least`, and returns the key.

        Raises InvalidArgument INVALID_FIELD above the newest version, FailedPrecondition KEY_VERSION_IN_USE, and what the vault and the
        catalogue raise.
        """
        async with self.catalogue.changing_key():
            key = await self.vault.key()
            if least > key.latest:
                raise InvalidArgument(
                    "INVALID_FIELD", f"the newest version of the key is {key.latest}", field=FIELD
                )
            if least <= key.min_decryption:
                return key
            if count := await self._needing_less(key, least):
                raise FailedPrecondition(
                    "KEY_VERSION_IN_USE",
                    f"{count} versions of secrets need a version of the key below {least}, or may need one",
                )
            await self.vault.retire_key(least)
            return await self.vault.key()

    async def _needing_less(self, key: SecretKey, least: int) -> int:
        uses = [use for use in await self.catalogue.uses() if use.key_version < least]
        known = sum(use.current_count + use.earlier_count for use in uses)
        return known + await self.catalogue.unsettled(key.create_times[least] + SETTLED)
