"""A vault with a key that has versions, a catalogue that knows of them, and jobs, all in memory."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from mesh.ids import new_id
from mesh.secret import Secret
from services.secure_bot_data.domain.changing import VersionChanger
from services.secure_bot_data.domain.key_ports import Work
from services.secure_bot_data.domain.keys import KeyKeeper
from services.secure_bot_data.domain.model import (
    Description,
    JobState,
    KeyUse,
    OpenedVersion,
    RewrapJob,
    SealedVersion,
    SecretKey,
    SecretRef,
    State,
    VersionRecord,
)
from services.secure_bot_data.domain.settling import Settler
from services.secure_bot_data.domain.writing import SecretWriter
from tests.fakes.clock import ManualClock
from tests.unit.services.secure_bot_data.fakes import Failing, MemoryCatalogue, MemoryVault


class KeyedVault(MemoryVault):
    """Implements `SecretVault` and `KeyVault`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.least = 1
        self.create_times = {1: clock.now()}

    @property
    def latest(self) -> int:
        """Newest version of the key."""
        return max(self.create_times)

    async def seal(
        self, ref: SecretRef, version: int, fields: Mapping[str, Secret], description: Description
    ) -> SealedVersion:
        sealed = await super().seal(ref, version, fields, description)
        return replace(sealed, description=replace(description, key_version=self.latest))

    async def open(self, ref: SecretRef, version: int) -> OpenedVersion:
        opened = await super().open(ref, version)
        if opened.description.key_version < self.least:
            raise FailedPrecondition("SECRET_DESTROYED", "the version of the key was retired")
        return opened

    async def key(self) -> SecretKey:
        self.begin("key")
        return SecretKey(self.latest, self.least, dict(self.create_times))

    async def rotate_key(self) -> None:
        late = self.begin("rotate_key")
        self.create_times[self.latest + 1] = self.clock.now()
        if late is not None:
            raise late

    async def retire_key(self, least: int) -> None:
        self.begin("retire_key")
        if least > self.latest:
            raise InvalidArgument("INVALID_FIELD", "no such version", field="version")
        self.least = least


class KeyedCatalogue(MemoryCatalogue):
    """Implements `Catalogue` and `KeyCatalogue`."""

    @asynccontextmanager
    async def changing_key(self) -> AsyncIterator[None]:
        self.begin("changing_key")
        yield

    async def uses(self) -> Sequence[KeyUse]:
        current, earlier = Counter[int](), Counter[int]()
        for ref in self.rows:
            versions = await self.versions(ref)
            for version in versions:
                if version.state is not State.DESTROYED:
                    counter = current if version == versions[-1] else earlier
                    counter[version.key_version] += 1
        keys = sorted({*current, *earlier})
        return [KeyUse(key, current[key], earlier[key]) for key in keys]

    async def unsettled(self, before: datetime) -> int:
        return len(await self.announced(before))

    async def versions(self, ref: SecretRef) -> Sequence[VersionRecord]:
        self.begin("versions")
        rows = self.rows.get(ref)
        if rows is None:
            return []
        return [
            VersionRecord(
                version=version,
                state=state,
                create_time=rows.descriptions[version].create_time,
                delete_time=None,
                created_by=rows.descriptions[version].created_by,
                rolled_back_from=rows.descriptions[version].rolled_back_from,
                rewrapped_from=rows.descriptions[version].rewrapped_from,
                key_version=rows.descriptions[version].key_version,
            )
            for version, state in sorted(rows.states.items())
        ]

    async def enter_keys(self, ref: SecretRef, keys: Mapping[int, int]) -> None:
        self.begin("enter_keys")
        for version, key_version in keys.items():
            described = self.rows[ref].descriptions[version]
            self.rows[ref].descriptions[version] = replace(described, key_version=key_version)

    async def forget_keys(self, ref: SecretRef) -> None:
        """As if the release before had written everything."""
        await self.enter_keys(ref, dict.fromkeys(self.rows[ref].descriptions, 0))


class MemoryJobs(Failing):
    """Implements `RewrapJobs` over the secrets of a catalogue."""

    def __init__(self, catalogue: MemoryCatalogue) -> None:
        super().__init__()
        self._catalogue = catalogue
        self._places: dict[str, int] = {}
        self.jobs: dict[str, RewrapJob] = {}

    async def start(self, job: RewrapJob) -> RewrapJob:
        self.begin("start")
        if other := await self.running():
            raise FailedPrecondition("REWRAP_RUNNING", "another runs", metadata={"jobId": other.id})
        self.jobs[job.id] = replace(job, total_count=len(self._catalogue.rows))
        return self.jobs[job.id]

    async def get(self, job_id: str) -> RewrapJob:
        if job_id not in self.jobs:
            raise NotFound("REWRAP_JOB_NOT_FOUND", "no such job")
        return self.jobs[job_id]

    async def cancel(self, job_id: str, now: datetime) -> RewrapJob:
        job = await self.get(job_id)
        if job.state is JobState.RUNNING:
            self.jobs[job_id] = replace(job, state=JobState.CANCELLED, end_time=now)
        return self.jobs[job_id]

    async def running(self) -> RewrapJob | None:
        self.begin("running")
        return next((job for job in self.jobs.values() if job.state is JobState.RUNNING), None)

    async def advance(self, work: Work, limit: int, now: Callable[[], datetime]) -> RewrapJob | None:
        self.begin("advance")
        job = await self.running()
        if job is None:
            return None
        place = self._places.get(job.id, 0)
        refs = sorted(self._catalogue.rows, key=lambda ref: (ref.bot_id, ref.name))[place : place + limit]
        progress = await work(job, refs)
        late = self.begin("advanced")
        assert late is None
        self._places[job.id] = place + progress.done
        job = self.jobs[job.id]
        self.jobs[job.id] = replace(
            job,
            rewrapped_count=job.rewrapped_count + progress.rewrapped,
            skipped_count=job.skipped_count + progress.skipped,
            failed_count=job.failed_count + progress.failed,
            last_failure=progress.last_failure or job.last_failure,
            update_time=now() if progress.done else job.update_time,
        )
        if progress.end is not None and job.state is JobState.RUNNING:
            self.jobs[job.id] = replace(self.jobs[job.id], state=progress.end, end_time=now())
        return self.jobs[job.id]


class Keys:
    """What a test needs to write secrets and to change the key."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.vault = KeyedVault(self.clock)
        self.catalogue = KeyedCatalogue()
        settler = Settler(self.vault, self.catalogue, self.clock)
        self.writer = SecretWriter(self.vault, self.catalogue, settler, self.clock, new_id)
        self.changer = VersionChanger(self.vault, self.catalogue, settler, self.clock, new_id)
        self.keeper = KeyKeeper(self.vault, self.catalogue)
