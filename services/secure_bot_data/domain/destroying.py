"""Everything of a bot that is no more: the values of all its secrets go for good.

Secret after secret, each as `changing` does it, so that whoever repeats a call that was cut off goes on where it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from services.secure_bot_data.domain.changing import VersionChanger
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import SecretKind, SecretMetadata

PAGE: Final = 100


class SecretList(Protocol):
    """The catalogue, as far as listing goes."""

    async def list_secrets(
        self,
        bot_id: str,
        *,
        kind: SecretKind | None,
        show_deleted: bool,
        rotate_before: datetime | None,
        after: str,
        limit: int,
    ) -> Sequence[SecretMetadata]: ...


@dataclass(frozen=True, slots=True)
class BotSecretDestroyer:
    """Destroys what a bot has."""

    catalogue: SecretList
    changer: VersionChanger

    async def destroy(self, bot_id: str) -> int:
        """How many secrets had a version left. Raises what the vault and the catalogue raise; then some may be destroyed."""
        found = await self._all(bot_id)
        for metadata in found:
            # The call is on the trail as done once the last one is.
            await self.changer.change(metadata.ref, Event.DESTROY, (), concludes=metadata is found[-1])
        return sum(metadata.versions > 0 for metadata in found)

    async def _all(self, bot_id: str) -> list[SecretMetadata]:
        found: list[SecretMetadata] = []
        while page := await self.catalogue.list_secrets(
            bot_id,
            kind=None,
            show_deleted=True,
            rotate_before=None,
            after=found[-1].ref.name if found else "",
            limit=PAGE,
        ):
            found += page
        return found
