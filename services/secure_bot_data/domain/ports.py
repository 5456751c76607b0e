"""What the rules need from outside: a vault for values, a catalogue for what is known about them, a trail for who read them.

Every method is one step that happens wholly or not at all, and raises `mesh.errors` only. `store/` has the implementations.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mesh.errors import MeshError
from mesh.secret import Secret
from services.secure_bot_data.domain.leasing import Grant
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import (
    Access,
    Description,
    Lease,
    OpenedVersion,
    SealedVersion,
    SecretMetadata,
    SecretRef,
    VersionFact,
)


class SecretVault(Protocol):
    """Keeps values. Every method may raise Unavailable (VAULT_SEALED, VAULT_STANDBY, VAULT_PERMISSION_LOST, VAULT_UNAVAILABLE) or
    ResourceExhausted (VAULT_THROTTLED, OVERLOADED)."""

    async def seal(
        self, ref: SecretRef, version: int, fields: Mapping[str, Secret], description: Description
    ) -> SealedVersion:
        """Encrypts values for exactly this secret, version and description. Changes nothing in the vault."""
        ...

    async def put(self, ref: SecretRef, sealed: SealedVersion) -> None:
        """Writes the version over the one before it.

        Raises Aborted VERSION_MISMATCH when that one is not current, OutOfRange when too large, OutcomeUnknown when the
        confirmation was lost.
        """
        ...

    async def open(self, ref: SecretRef, version: int) -> OpenedVersion:
        """A version with its values, 0: the current one.

        NotFound when absent, deleted or destroyed, FailedPrecondition SECRET_DESTROYED when its version of the key was retired.
        """
        ...

    async def describe(self, ref: SecretRef, version: int) -> Description:
        """What a version says of itself. NotFound when absent, deleted or destroyed."""
        ...

    async def facts(self, ref: SecretRef) -> Sequence[VersionFact]:
        """Every version that is kept, ascending. NotFound when there is no such secret."""
        ...

    async def change(self, ref: SecretRef, event: Event, versions: Sequence[int]) -> None:
        """Deletes, restores or destroys versions; may be repeated."""
        ...

    async def label(self, ref: SecretRef, labels: Mapping[str, str]) -> None:
        """Shows these to people who look into the vault, instead of those before; may be repeated. Makes an entry where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Picture:
    """A secret as the vault has it. `descriptions` of those versions that were asked for and can be read."""

    facts: Sequence[VersionFact]
    descriptions: Mapping[int, Description]


Look = Callable[[frozenset[int]], Awaitable[Picture | None]]
"""Takes a picture; the argument are the versions whose description is known. None when the vault has no such secret."""


Label = Callable[[SecretMetadata], Awaitable[None]]
"""Shows what is known of a secret to people who look into the vault."""


@dataclass(frozen=True, slots=True)
class Marker:
    """Says that the vault may know more of a secret than the catalogue."""

    id: str
    ref: SecretRef
    create_time: datetime


class Catalogue(Protocol):
    """A copy of what the vault holds, without values."""

    async def find(self, ref: SecretRef) -> SecretMetadata | None:
        """What is known of a secret."""
        ...

    async def announce(self, marker: Marker) -> None:
        """Remembers that the vault is about to be changed."""
        ...

    async def withdraw(self, marker_id: str) -> None:
        """Forgets an announcement."""
        ...

    async def announced(self, before: datetime) -> Sequence[Marker]:
        """Some announcements older than `before`, oldest first."""
        ...

    async def record(
        self,
        ref: SecretRef,
        version: int,
        description: Description,
        marker_id: str | None,
        *,
        rotation_id: str | None = None,
    ) -> SecretMetadata:
        """Enters a version that the vault has taken and forgets the announcement, if one is named. Concludes the call.

        `rotation_id`: the claim that the writer followed; whichever claim of an earlier version there is ends settled. Returns the
        secret as this writing left it, even when a later one is current by now.
        """
        ...

    async def copy(
        self, ref: SecretRef, look: Look, *, marker_id: str | None, concludes: bool
    ) -> SecretMetadata | None:
        """Makes the copy equal to what `look` sees, one copier a secret at a time. None when there is nothing to know."""
        ...

    async def label(self, ref: SecretRef, write: Label, *, marker_id: str | None) -> None:
        """Has `write` show what is known of a secret, if anything is, one at a time and so the newest last; forgets the announcement."""
        ...


class Trail(Protocol):
    """Who read what. A row that was written stays."""

    async def allow(self, access: Access) -> None:
        """Writes that values are given out, together with the call's audit record."""
        ...

    async def lease(self, grant: Grant, asked: float, max_open: int) -> Lease | MeshError:
        """As `allow`, with the lease that the grant makes of the trail's own time; or the refusal, with nothing written.

        Refused are FailedPrecondition SECRET_EXPIRED, ResourceExhausted LEASE_LIMIT_REACHED when the bot has `max_open` in force, and
        Aborted LEASES_REVOKED when they were ended since `asked`, in monotonic seconds. What is raised is the trail's own failure.
        """
        ...

    async def deny(self, access: Access) -> None:
        """Writes that values were asked for and refused."""
        ...

    async def revoke(self, bot_id: str, reason: str) -> int:
        """Ends the bot's leases and returns how many were in force."""
        ...
