"""Deleting, restoring and destroying versions: the vault does it, the catalogue copies the result.

All three may be repeated. The order of steps and what heals them is told in `settling`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from mesh.clock import Clock
from mesh.errors import NotFound
from services.secure_bot_data.domain.lifecycle import Event, affected
from services.secure_bot_data.domain.model import SecretMetadata, SecretRef
from services.secure_bot_data.domain.ports import Catalogue, Marker, SecretVault
from services.secure_bot_data.domain.settling import Settler


@dataclass(frozen=True, slots=True)
class VersionChanger:
    """Moves versions along `lifecycle.TRANSITIONS`."""

    vault: SecretVault
    catalogue: Catalogue
    settler: Settler
    clock: Clock
    new_id: Callable[[], str]

    async def change(
        self, ref: SecretRef, event: Event, versions: Collection[int], *, concludes: bool = True
    ) -> SecretMetadata:
        """Applies `event` to the versions, to all it fits when empty. Errors as in `lifecycle.affected`.

        `concludes`: this is the last of what the call does.
        """
        # First, because what a deleted version says of itself can no longer be read.
        metadata = await self.settler.settle(ref)
        changed = affected(await self.vault.facts(ref), event, versions)
        marker_id = None
        if changed:
            marker_id = self.new_id()
            await self.catalogue.announce(Marker(marker_id, ref, self.clock.now()))
            await self.vault.change(ref, event, changed)
        metadata = await self.settler.settle(ref, marker_id=marker_id, concludes=concludes)
        if metadata is None:
            raise NotFound("SECRET_NOT_FOUND", "no such secret")
        return metadata
