"""Making the values of an earlier version current again, as a new version.

The values are decrypted, encrypted for the new number and written as any other version is (`writing`); they do not leave the service,
so nobody has read them. What belongs to the values comes back with them: kind, fields and `expire_time`, which is a date of those very
values. What belongs to the secret stays as it is now: `owner` and `rotate_time` say who looks after it and when it is due, and
undoing values must not undo what was decided about that since.
"""

from dataclasses import dataclass

from mesh.clock import Clock
from mesh.errors import Aborted, NotFound
from services.secure_bot_data.domain.model import Caller, Draft, OpenedVersion, SecretMetadata, SecretRef
from services.secure_bot_data.domain.opening import open_readable
from services.secure_bot_data.domain.ports import Catalogue, SecretVault
from services.secure_bot_data.domain.settling import Settler
from services.secure_bot_data.domain.writing import MAX_ROUNDS, SecretWriter, mismatch


@dataclass(frozen=True, slots=True)
class SecretRollback:
    """Brings values back."""

    vault: SecretVault
    catalogue: Catalogue
    settler: Settler
    writer: SecretWriter
    clock: Clock

    async def roll_back(
        self, ref: SecretRef, version: int, expected: int | None, caller: Caller
    ) -> SecretMetadata:
        """Writes the values of `version` as a new version; `expected` is the version it must replace, None for whichever is current.

        Raises NotFound SECRET_NOT_FOUND, FailedPrecondition SECRET_DELETED, SECRET_DESTROYED or SECRET_EXPIRED about `version`,
        Aborted VERSION_MISMATCH, and what `SecretWriter.put` raises.
        """
        opened = await open_readable(self.vault, ref, version, self.clock.now())
        for _ in range(MAX_ROUNDS):
            current = await self._current(ref, expected)
            try:
                return await self.writer.put(ref, _draft(opened, current), current.version, caller)
            except Aborted:
                if expected is not None:
                    raise
        raise mismatch()

    async def _current(self, ref: SecretRef, expected: int | None) -> SecretMetadata:
        """What is to be replaced. The catalogue may lag behind the vault, so it is settled before anybody is refused."""
        known = await self.catalogue.find(ref)
        if known is None or expected not in (None, known.version):
            known = await self.settler.settle(ref)
        if known is None:
            raise NotFound("SECRET_NOT_FOUND", "no such secret")
        if expected not in (None, known.version):
            raise mismatch()
        return known


def _draft(opened: OpenedVersion, current: SecretMetadata) -> Draft:
    return Draft(
        kind=opened.description.kind,
        fields=opened.fields,
        expire_time=opened.description.expire_time,
        rotate_time=current.rotate_time,
        owner=current.owner,
        rolled_back_from=opened.version,
    )
