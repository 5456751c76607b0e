"""Giving values out, to people and to the service that posts.

Every attempt is on the trail. The values are read and decrypted first, so that the trail says what was really given; its row is
committed next, together with the call's audit record; only then are the values returned. Without the row they are not. A
refusal is written too; if that fails the refusal stands, and the log says so.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError, Unavailable
from services.secure_bot_data.domain.leasing import Grant
from services.secure_bot_data.domain.model import (
    Access,
    AccessKind,
    Caller,
    Lease,
    OpenedVersion,
    SecretRef,
)
from services.secure_bot_data.domain.opening import open_readable, open_version
from services.secure_bot_data.domain.ports import SecretVault, Trail

DEFAULT_TTL: Final = timedelta(minutes=1)
RETRY_AFTER: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class SecretReader:
    """Gives values out. `new_id` gives UUIDv7, `max_open` how many leases a bot may have at this moment."""

    vault: SecretVault
    trail: Trail
    clock: Clock
    new_id: Callable[[], str]
    max_open: Callable[[], int]

    async def reveal(self, ref: SecretRef, version: int, reason: str, caller: Caller) -> OpenedVersion:
        """Values for a person; `version` 0 is the current one.

        Raises NotFound SECRET_NOT_FOUND, FailedPrecondition SECRET_DELETED, SECRET_DESTROYED or SECRET_EXPIRED, Unavailable
        ACCESS_TRAIL_UNAVAILABLE, and what the vault raises.
        """
        access = self._access(ref, AccessKind.REVEAL, reason, caller)
        opened = await self._open(access, version)
        try:
            await self.trail.allow(replace(access, version=opened.version))
        except MeshError as error:
            raise _no_trail(error) from None
        return opened

    async def lease(
        self, ref: SecretRef, version: int, ttl: timedelta, reason: str, caller: Caller
    ) -> tuple[OpenedVersion, Lease]:
        """Values for a service, to be forgotten when the lease ends.

        Raises as `reveal`; also ResourceExhausted LEASE_LIMIT_REACHED, and Aborted LEASES_REVOKED when the bot's leases were ended
        since it was asked for.
        """
        access, asked = self._access(ref, AccessKind.LEASE, reason, caller), self.clock.monotonic()
        try:
            opened = await open_version(self.vault, ref, version)
        except MeshError as error:
            await self._deny(access, error.reason)
            raise
        grant = Grant(self.new_id(), replace(access, version=opened.version), opened.description, ttl)
        try:
            made = await self.trail.lease(grant, asked, self.max_open())
        except MeshError as error:
            raise _no_trail(error) from None
        if isinstance(made, MeshError):
            await self._deny(access, made.reason)
            raise made
        return opened, made

    async def revoke(self, bot_id: str, reason: str) -> int:
        """Ends the bot's leases; how many were in force."""
        return await self.trail.revoke(bot_id, reason)

    def _access(self, ref: SecretRef, kind: AccessKind, reason: str, caller: Caller) -> Access:
        return Access(self.new_id(), ref, kind, self.clock.now(), caller, reason)

    async def _open(self, access: Access, version: int) -> OpenedVersion:
        try:
            return await open_readable(self.vault, access.ref, version, self.clock.now())
        except MeshError as error:
            await self._deny(access, error.reason)
            raise

    async def _deny(self, access: Access, reason: str) -> None:
        try:
            await self.trail.deny(replace(access, denied_reason=reason))
        except MeshError as error:
            logger.bind(reason=error.reason, denied_reason=reason).error("denied access not on the trail")


def _no_trail(cause: MeshError) -> Unavailable:
    logger.bind(reason=cause.reason).error("access trail not written")
    return Unavailable(
        "ACCESS_TRAIL_UNAVAILABLE",
        "the access could not be put on the trail, so the secret is not given out",
        retry_after=RETRY_AFTER,
    )
