"""Writing new versions of secrets.

Each write names the version it replaces and the vault decides the race. Without `expected_version` the loser looks again and replaces
the winner's version; with it the loser is told. A write whose confirmation was lost is looked for by its `write_id` and never
sent again blindly. The order of steps and what heals them is told in `settling`.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from mesh.clock import Clock
from mesh.errors import Aborted, FailedPrecondition, InvalidArgument, MeshError, OutcomeUnknown
from mesh.secret import Secret
from services.secure_bot_data.domain.kinds import check_fields
from services.secure_bot_data.domain.labels import labels_of
from services.secure_bot_data.domain.model import (
    Caller,
    Description,
    Draft,
    OpenedVersion,
    SealedVersion,
    SecretKind,
    SecretMetadata,
    SecretRef,
)
from services.secure_bot_data.domain.ports import Catalogue, Marker, SecretVault
from services.secure_bot_data.domain.settling import Settler

MAX_ROUNDS: Final = 64
"""Each round of a race has a winner, so this many rivals of one secret are all served."""


@dataclass(frozen=True, slots=True)
class SecretWriter:
    """Writes versions. `new_id` gives UUIDv7."""

    vault: SecretVault
    catalogue: Catalogue
    settler: Settler
    clock: Clock
    new_id: Callable[[], str]

    async def put(
        self,
        ref: SecretRef,
        draft: Draft,
        expected: int | None,
        caller: Caller,
        *,
        rotation_id: str | None = None,
    ) -> SecretMetadata:
        """Writes a new version; `expected` is the version it must replace, 0 for none, None for whichever is current.

        `rotation_id`: the claim (`rotating`) that led to it. It is ended, and decides nothing: the only successor that there is must be
        stored even when the claim has passed to somebody else.

        Raises InvalidArgument for fields that do not fit the kind, FailedPrecondition SECRET_KIND_MISMATCH, Aborted VERSION_MISMATCH,
        OutOfRange MESSAGE_TOO_LARGE, OutcomeUnknown when the vault may have taken it, and what the vault and the catalogue raise.
        """
        if not ref.name:
            raise InvalidArgument("INVALID_FIELD", "name must not be empty", field="name")
        check_fields(draft.kind, draft.fields)
        for _ in range(MAX_ROUNDS):
            known = await self._base(ref, draft.kind, expected)
            written = await self._write(ref, known, draft, caller, rotation_id)
            if written is not None:
                return written
            await self.settler.settle(ref)
            if expected is not None:
                break
        raise mismatch()

    async def rewrap(self, ref: SecretRef, current: OpenedVersion, actor: str) -> SecretMetadata | None:
        """Writes the values of the current version anew, so that the newest version of the key protects them.

        Everything it says of itself stays but who wrote it and when. None when it is not current any more. Raises as `put`.
        """
        description = replace(
            current.description,
            create_time=self.clock.now(),
            created_by=actor,
            write_id=self.new_id(),
            rolled_back_from=0,
            rewrapped_from=current.version,
        )
        return await self._enter(ref, current.version + 1, current.fields, description)

    async def _base(self, ref: SecretRef, kind: SecretKind, expected: int | None) -> SecretMetadata | None:
        """The secret whose current version is to be replaced; None when there is none yet.

        The catalogue may lag behind the vault, so it is settled before anybody is refused.
        """
        known = await self.catalogue.find(ref)
        if expected is not None and expected != _version(known):
            known = await self.settler.settle(ref)
            if expected != _version(known):
                raise mismatch()
        if known is not None and known.kind is not kind:
            raise FailedPrecondition("SECRET_KIND_MISMATCH", f"the secret is of kind {known.kind}")
        return known

    async def _write(
        self,
        ref: SecretRef,
        known: SecretMetadata | None,
        draft: Draft,
        caller: Caller,
        rotation_id: str | None,
    ) -> SecretMetadata | None:
        """Writes the version after the one that is known; None when somebody else was faster."""
        return await self._enter(
            ref,
            _version(known) + 1,
            draft.fields,
            self._describe(draft, caller),
            relabels=known is None or labels_of(known) != labels_of(draft),
            rotation_id=rotation_id,
        )

    async def _enter(
        self,
        ref: SecretRef,
        version: int,
        fields: Mapping[str, Secret],
        description: Description,
        *,
        relabels: bool = False,
        rotation_id: str | None = None,
    ) -> SecretMetadata | None:
        """Seals and announces, puts, records; None when somebody else was faster."""
        marker = Marker(self.new_id(), ref, description.create_time)
        sealed = await self._prepare(ref, version, fields, description, marker)
        if not await self._put(ref, sealed):
            await self.catalogue.withdraw(marker.id)
            return None
        try:
            written = await self.catalogue.record(
                ref, version, sealed.description, None if relabels else marker.id, rotation_id=rotation_id
            )
        except MeshError:
            # Whatever it was, the vault has the version: the caller must not take it for refused.
            pass
        else:
            if relabels:
                await self.settler.label(ref, marker_id=marker.id)
            return written
        raise OutcomeUnknown(
            "DATABASE_UNAVAILABLE", "the secret was stored, but what is known of it not yet; read it again"
        )

    async def _prepare(
        self,
        ref: SecretRef,
        version: int,
        fields: Mapping[str, Secret],
        description: Description,
        marker: Marker,
    ) -> SealedVersion:
        """Seals and announces at the same time, since neither needs the other."""
        sealed, announced = await asyncio.gather(
            self.vault.seal(ref, version, fields, description),
            self.catalogue.announce(marker),
            return_exceptions=True,
        )
        if isinstance(announced, BaseException):
            raise announced
        if isinstance(sealed, BaseException):
            await self.catalogue.withdraw(marker.id)
            raise sealed
        return sealed

    async def _put(self, ref: SecretRef, sealed: SealedVersion) -> bool:
        """Whether this very writing is in the vault; False when another one is in its place."""
        try:
            await self.vault.put(ref, sealed)
        except Aborted:
            return False
        except OutcomeUnknown as unknown:
            found = await self._found(ref, sealed.version)
            if found is None:
                raise unknown from None
            return found.write_id == sealed.description.write_id
        return True

    async def _found(self, ref: SecretRef, version: int) -> Description | None:
        """What is at `version` now. None proves nothing: the write may still be on its way."""
        try:
            return await self.vault.describe(ref, version)
        except MeshError:
            return None

    def _describe(self, draft: Draft, caller: Caller) -> Description:
        return Description(
            kind=draft.kind,
            field_names=tuple(sorted(draft.fields)),
            create_time=self.clock.now(),
            created_by=caller.actor,
            write_id=self.new_id(),
            expire_time=draft.expire_time,
            rotate_time=draft.rotate_time,
            owner=draft.owner,
            rolled_back_from=draft.rolled_back_from,
        )


def _version(known: SecretMetadata | None) -> int:
    return 0 if known is None else known.version


def mismatch() -> Aborted:
    """Another version is current than the one that should be replaced."""
    return Aborted("VERSION_MISMATCH", "the secret has another version than expected")
