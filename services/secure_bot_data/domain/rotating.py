"""Claims to replace a secret that can be exchanged only once, such as an OAuth 2.0 refresh token.

    claim      one a secret at a time; it names the current version and lasts for its `ttl` by the database's clock (see `leasing`)
    store      writes the successor; the version decides, and whichever claim of an earlier one there is ends settled with it
    release    ends the claim without a successor and says whether the other side may have been asked

A claim that is over and not settled leaves its mark: the next one of the same values is `interrupted`. A version that was only encrypted
anew has the same values, so a claim stays in force, and its mark stays, across it; any other newer version makes it history. Values are
leased, never given out here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from mesh.errors import Aborted, FailedPrecondition, NotFound
from services.secure_bot_data.domain.lifecycle import refusal
from services.secure_bot_data.domain.model import Caller, SecretRef, State
from services.secure_bot_data.domain.settling import Settler

DEFAULT_TTL: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Claim:
    """The last claim to replace a secret. `in_force` until it was stored or released; it may have expired all the same."""

    id: str
    version: int
    holder: str
    create_time: datetime
    expire_time: datetime
    in_force: bool = True
    settled: bool = False

    def holds(self, now: datetime) -> bool:
        """Whether nobody else may claim."""
        return self.in_force and now < self.expire_time


@dataclass(frozen=True, slots=True)
class Standing:
    """A secret's current version at the moment `now`, and the last claim. `rewrapped`: versions that only encrypted another anew."""

    now: datetime
    version: int
    state: State
    expire_time: datetime | None
    rewrapped: Mapping[int, int]
    last: Claim | None

    def same_values(self, version: int) -> bool:
        """Whether the current version holds the values of that one, as far as it was brought here by encrypting anew."""
        reached = self.version
        while reached != version and reached in self.rewrapped:
            reached = self.rewrapped[reached]
        return reached == version


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim that was made. `interrupted`: one before it ended without a word."""

    claim: Claim
    interrupted: bool


Decide = Callable[[Standing], Claimed]


class Rotations(Protocol):
    """Remembers the last claim of each secret, the same for all replicas."""

    async def claim(self, ref: SecretRef, decide: Decide) -> Claimed:
        """Replaces the last claim by what `decide` makes of how things stand; no other claim or record comes in between.

        Concludes the call. Raises NotFound SECRET_NOT_FOUND, and what `decide` raises.
        """
        ...

    async def release(self, ref: SecretRef, rotation_id: str, *, settled: bool) -> bool:
        """Ends the claim if it is still the last one and nobody ended it; whether it was in force until now. Concludes the call."""
        ...


@dataclass(frozen=True, slots=True)
class SecretRotator:
    """Makes and ends claims. `new_id` gives UUIDv7."""

    rotations: Rotations
    settler: Settler
    new_id: Callable[[], str]

    async def claim(self, ref: SecretRef, ttl: timedelta, caller: Caller) -> Claimed:
        """Claims the current version.

        Raises NotFound SECRET_NOT_FOUND, FailedPrecondition SECRET_DELETED, SECRET_DESTROYED or SECRET_EXPIRED, Aborted
        ROTATION_CLAIMED while another claim is in force, also one of the same caller, and what the vault raises.
        """
        if await self.settler.settle(ref) is None:
            raise NotFound("SECRET_NOT_FOUND", "no such secret")
        rotation_id = self.new_id()
        return await self.rotations.claim(
            ref, lambda standing: judge(standing, rotation_id, caller.actor, ttl)
        )

    async def release(self, ref: SecretRef, rotation_id: str, *, settled: bool) -> bool:
        """Ends the claim without a successor; may be repeated. Whether it was in force until now.

        A late word still counts while nobody has claimed since: what is known is better than what is feared.
        """
        return await self.rotations.release(ref, rotation_id, settled=settled)


def judge(standing: Standing, rotation_id: str, holder: str, ttl: timedelta) -> Claimed:
    """The claim that may be made as things stand. Raises as `SecretRotator.claim`."""
    now, last = standing.now, standing.last
    if standing.state is not State.ACTIVE:
        raise refusal(standing.version, standing.state)
    if standing.expire_time is not None and standing.expire_time <= now:
        raise FailedPrecondition("SECRET_EXPIRED", f"version {standing.version} of the secret has expired")
    current = None if last is None or not standing.same_values(last.version) else last
    if current is not None and current.holds(now):
        raise Aborted(
            "ROTATION_CLAIMED", "somebody else is replacing the secret", retry_after=current.expire_time - now
        )
    claim = Claim(rotation_id, standing.version, holder, now, now + ttl)
    return Claimed(claim, interrupted=current is not None and not current.settled)


def released(claim: Claim, *, settled: bool) -> Claim:
    """The claim once its holder has given it back."""
    return replace(claim, in_force=False, settled=settled)
