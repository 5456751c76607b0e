"""A vault, a catalogue and a trail in memory: small and real, with the failures a test asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from mesh.clock import Clock
from mesh.errors import Aborted, MeshError, NotFound, ResourceExhausted
from mesh.secret import Secret
from services.secure_bot_data.domain.leasing import Grant
from services.secure_bot_data.domain.lifecycle import TRANSITIONS, Event
from services.secure_bot_data.domain.model import (
    Access,
    Description,
    Lease,
    OpenedVersion,
    SealedVersion,
    SecretMetadata,
    SecretRef,
    State,
    VersionFact,
)
from services.secure_bot_data.domain.ports import Label, Look, Marker
from services.secure_bot_data.domain.rotating import Claim, Claimed, Decide, Standing, released


class Failing:
    """Raises what it was told to, once, before or after doing what was asked."""

    def __init__(self) -> None:
        self._planned: dict[str, tuple[MeshError, bool]] = {}

    def fail_next(self, method: str, error: MeshError, *, done: bool = False) -> None:
        """`done`: the step happens, only its confirmation is lost."""
        self._planned[method] = (error, done)

    def begin(self, method: str) -> MeshError | None:
        """Raises now, or gives the error to raise when the step is done."""
        error, done = self._planned.pop(method, (None, False))
        if error is not None and not done:
            raise error
        return error


class MemoryVault(Failing):
    """Implements `SecretVault`; values lie in the sealed versions' place."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._values: dict[tuple[SecretRef, int], OpenedVersion] = {}
        self._sealing: dict[str, Mapping[str, Secret]] = {}
        self._facts: dict[SecretRef, dict[int, VersionFact]] = {}
        self.labels: dict[SecretRef, Mapping[str, str]] = {}

    async def seal(
        self, ref: SecretRef, version: int, fields: Mapping[str, Secret], description: Description
    ) -> SealedVersion:
        self.begin("seal")
        self._sealing[description.write_id] = fields
        return SealedVersion(version, description, "ciphertext")

    async def put(self, ref: SecretRef, sealed: SealedVersion) -> None:
        late = self.begin("put")
        facts = self._facts.setdefault(ref, {})
        if sealed.version != max(facts, default=0) + 1:
            raise Aborted("VERSION_MISMATCH", "the secret has another version than expected")
        facts[sealed.version] = VersionFact(sealed.version, State.ACTIVE, self._clock.now(), None)
        fields = self._sealing[sealed.description.write_id]
        self._values[ref, sealed.version] = OpenedVersion(sealed.version, sealed.description, fields)
        if late is not None:
            raise late

    async def open(self, ref: SecretRef, version: int) -> OpenedVersion:
        self.begin("open")
        facts = self._facts.get(ref, {})
        wanted = version or max(facts, default=0)
        if wanted not in facts or facts[wanted].state is not State.ACTIVE:
            raise NotFound("SECRET_NOT_FOUND", "no such secret or version of it")
        return self._values[ref, wanted]

    async def describe(self, ref: SecretRef, version: int) -> Description:
        self.begin("describe")
        return (await self.open(ref, version)).description

    async def facts(self, ref: SecretRef) -> Sequence[VersionFact]:
        self.begin("facts")
        if ref not in self._facts:
            raise NotFound("SECRET_NOT_FOUND", "no such secret or version of it")
        return [self._facts[ref][version] for version in sorted(self._facts[ref])]

    async def change(self, ref: SecretRef, event: Event, versions: Sequence[int]) -> None:
        self.begin("change")
        for version in versions:
            fact = self._facts[ref][version]
            after = TRANSITIONS[fact.state, event]
            assert after is not None
            time = None if after is State.ACTIVE else self._clock.now()
            self._facts[ref][version] = replace(fact, state=after, delete_time=time)

    async def label(self, ref: SecretRef, labels: Mapping[str, str]) -> None:
        self.begin("label")
        self.labels[ref] = labels


@dataclass
class Rows:
    """What the catalogue knows of one secret."""

    descriptions: dict[int, Description] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)


class MemoryCatalogue(Failing):
    """Implements `Catalogue`."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[SecretRef, Rows] = {}
        self.markers: dict[str, Marker] = {}
        self.claims: dict[SecretRef, Claim] = {}

    async def find(self, ref: SecretRef) -> SecretMetadata | None:
        self.begin("find")
        rows = self.rows.get(ref)
        return self._metadata(ref, rows, max(rows.descriptions)) if rows and rows.descriptions else None

    async def announce(self, marker: Marker) -> None:
        self.begin("announce")
        self.markers[marker.id] = marker

    async def withdraw(self, marker_id: str) -> None:
        self.begin("withdraw")
        self.markers.pop(marker_id, None)

    async def announced(self, before: datetime) -> Sequence[Marker]:
        self.begin("announced")
        return [marker for marker in self.markers.values() if marker.create_time < before]

    async def record(
        self,
        ref: SecretRef,
        version: int,
        description: Description,
        marker_id: str | None,
        *,
        rotation_id: str | None = None,
    ) -> SecretMetadata:
        self.begin("record")
        rows = self.rows.setdefault(ref, Rows())
        rows.descriptions[version] = description
        rows.states.setdefault(version, State.ACTIVE)
        if marker_id is not None:
            self.markers.pop(marker_id, None)
        last = self.claims.get(ref)
        if rotation_id is not None and last is not None and last.version < version:
            self.claims[ref] = released(last, settled=True)
        return self._metadata(ref, rows, version)

    async def copy(
        self, ref: SecretRef, look: Look, *, marker_id: str | None, concludes: bool
    ) -> SecretMetadata | None:
        self.begin("copy")
        rows = self.rows.setdefault(ref, Rows())
        picture = await look(frozenset(rows.descriptions))
        if picture is not None:
            rows.states = {fact.version: fact.state for fact in picture.facts}
            rows.descriptions.update(picture.descriptions)
        if marker_id is not None:
            self.markers.pop(marker_id, None)
        return await self.find(ref)

    async def label(self, ref: SecretRef, write: Label, *, marker_id: str | None) -> None:
        self.begin("label")
        metadata = await self.find(ref)
        if metadata is not None:
            await write(metadata)
        if marker_id is not None:
            self.markers.pop(marker_id, None)

    @staticmethod
    def _metadata(ref: SecretRef, rows: Rows, version: int) -> SecretMetadata:
        described = rows.descriptions[version]
        return SecretMetadata(
            ref=ref,
            kind=described.kind,
            version=version,
            versions=sum(state is not State.DESTROYED for state in rows.states.values()),
            state=rows.states[version],
            create_time=described.create_time,
            update_time=described.create_time,
            expire_time=described.expire_time,
            rotate_time=described.rotate_time,
            owner=described.owner,
            field_names=described.field_names,
            updated_by=described.created_by,
        )


class MemoryRotations(Failing):
    """Implements `Rotations` beside a catalogue. `rewrapped`: versions that only encrypted another anew."""

    def __init__(self, catalogue: MemoryCatalogue, clock: Clock) -> None:
        super().__init__()
        self._catalogue = catalogue
        self._clock = clock
        self.rewrapped: dict[int, int] = {}

    async def claim(self, ref: SecretRef, decide: Decide) -> Claimed:
        self.begin("claim")
        found = await self._catalogue.find(ref)
        if found is None:
            raise NotFound("SECRET_NOT_FOUND", "no such secret")
        last = self._catalogue.claims.get(ref)
        claimed = decide(
            Standing(self._clock.now(), found.version, found.state, found.expire_time, self.rewrapped, last)
        )
        self._catalogue.claims[ref] = claimed.claim
        return claimed

    async def release(self, ref: SecretRef, rotation_id: str, *, settled: bool) -> bool:
        self.begin("release")
        claim = self._catalogue.claims.get(ref)
        if claim is None or claim.id != rotation_id or not claim.in_force:
            return False
        self._catalogue.claims[ref] = released(claim, settled=settled)
        return claim.holds(self._clock.now())


class MemoryTrail(Failing):
    """Implements `Trail`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.accesses: list[Access] = []
        self.leases: list[Lease] = []

    async def allow(self, access: Access) -> None:
        self.begin("allow")
        self.accesses.append(access)

    async def lease(self, grant: Grant, asked: float, max_open: int) -> Lease | MeshError:
        self.begin("lease")
        try:
            access, lease = grant.at(self._clock.now())
        except MeshError as refusal:
            return refusal
        if len(self.leases) >= max_open:
            wait = min(held.expire_time for held in self.leases) - lease.create_time
            return ResourceExhausted(
                "LEASE_LIMIT_REACHED", "the bot has as many leases in force as allowed", retry_after=wait
            )
        self.leases.append(lease)
        self.accesses.append(access)
        return lease

    async def deny(self, access: Access) -> None:
        self.begin("deny")
        self.accesses.append(access)

    async def revoke(self, bot_id: str, reason: str) -> int:
        self.begin("revoke")
        count, self.leases = len(self.leases), []
        return count
