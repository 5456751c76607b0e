"""Bringing every secret's current values under the newest version of the key.

The vault cannot rewrap a ciphertext that has associated data, and a version in KV never changes; so a secret is opened and written anew as its
next version, by the same steps as any other write (`writing`), with the same values and everything else it says of itself. Earlier versions
stay, or are destroyed once the new one has been seen to open.

A job goes through all secrets by bot and name, a batch at a time, which is short. One replica works on it; the end of a batch is committed together with its
counts, so whoever takes over, because that replica died, begins behind the last whole batch. What the dead one had done beyond that is
recognised by `rewrapped_from` and counted as if it had just been done. While the vault or the database is away the job waits and tries
again. A secret that does not open is counted as failed and left alone.

Nobody who writes is ever in the way: a writer that is faster has used the newest version of the key, and whoever comes new does so too. If the
key gets yet another version meanwhile, the job still reaches what it was started for: its target, or newer. Nor is whoever holds a claim to
replace a secret: claims hold across versions that were only encrypted anew (`rotating`), and their doubts do too.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import (
    Aborted,
    DeadlineExceeded,
    Internal,
    MeshError,
    NotFound,
    OutcomeUnknown,
    ResourceExhausted,
    Unavailable,
)
from services.secure_bot_data.domain.changing import VersionChanger
from services.secure_bot_data.domain.key_ports import KeyCatalogue, KeyVault, Progress, RewrapJobs
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import JobState, RewrapJob, SecretRef, State, VersionRecord
from services.secure_bot_data.domain.ports import SecretVault
from services.secure_bot_data.domain.settling import Settler
from services.secure_bot_data.domain.writing import SecretWriter

if TYPE_CHECKING:
    from loguru import Logger

IN_FLIGHT: Final = 8
"""Half of the threads that the vault's client has, so that those who read find one that is free."""
BATCH: Final = 64
SLICE: Final = timedelta(seconds=0.5)
"""A batch begins with no further secret after this long, so that a job can be cancelled soon however slow the vault is."""
ROUNDS: Final = 8
"""A writer that is faster uses the newest key, so two would do; more than these and something else is wrong."""
INTERVAL: Final = timedelta(seconds=1)


class Outcome(Enum):
    """What became of one secret."""

    REWRAPPED = auto()
    SKIPPED = auto()
    FAILED = auto()
    WAITS = auto()


@dataclass(frozen=True, slots=True)
class Result:
    """`reason` says why, for FAILED and WAITS; without one it was not even begun with."""

    outcome: Outcome
    reason: str = ""


WAITS: Final = (Unavailable, ResourceExhausted, Aborted, DeadlineExceeded, OutcomeUnknown)
"""Errors that pass; after the last two the vault is looked at again before anything is repeated."""


@dataclass(frozen=True, slots=True)
class SecretRewrapper:
    """Brings one secret under the key."""

    vault: SecretVault
    catalogue: KeyCatalogue
    writer: SecretWriter
    changer: VersionChanger
    settler: Settler

    async def rewrap(self, job: RewrapJob, ref: SecretRef) -> Result:
        """What became of the secret; raises nothing of `mesh.errors`."""
        try:
            return await self._rewrap(job, ref)
        except WAITS as error:
            return Result(Outcome.WAITS, error.reason)
        except MeshError as error:
            return Result(Outcome.FAILED, error.reason)

    async def _rewrap(self, job: RewrapJob, ref: SecretRef) -> Result:
        reason = "VERSION_MISMATCH"
        for _ in range(ROUNDS):
            try:
                outcome = await self._round(job, ref)
            except NotFound as absent:
                outcome, reason = None, absent.reason
            if outcome is not None:
                return Result(outcome)
            # Somebody else changed it, or the catalogue lags behind the vault.
            await self.settler.settle(ref)
        return Result(Outcome.FAILED, reason)

    async def _round(self, job: RewrapJob, ref: SecretRef) -> Outcome | None:
        """One attempt; None when what we knew of the secret is not true any more."""
        versions = await self._known(ref)
        if not versions or versions[-1].state is not State.ACTIVE:
            return Outcome.SKIPPED
        current = versions[-1]
        if current.key_version < job.target:
            if not await self._write(job, ref, current.version):
                return None
            outcome = Outcome.REWRAPPED
        else:
            ours = current.rewrapped_from > 0 and current.create_time >= job.create_time
            outcome = Outcome.REWRAPPED if ours else Outcome.SKIPPED
        if job.destroy_earlier:
            await self._destroy_earlier(job, ref)
        return outcome

    async def _known(self, ref: SecretRef) -> Sequence[VersionRecord]:
        """The secret's versions; those written before the catalogue knew of keys are looked up as far as they can be read."""
        versions = await self.catalogue.versions(ref)
        found = {}
        for version in versions:
            if version.state is State.ACTIVE and not version.key_version:
                try:
                    described = await self.vault.describe(ref, version.version)
                except (NotFound, Internal):
                    # Gone, or tampered with: nobody knows what it needs.
                    continue
                found[version.version] = described.key_version
        if not found:
            return versions
        await self.catalogue.enter_keys(ref, found)
        return await self.catalogue.versions(ref)

    async def _write(self, job: RewrapJob, ref: SecretRef, version: int) -> bool:
        """Writes the successor of `version`; False when that is not current any more."""
        opened = await self.vault.open(ref, 0)
        return opened.version == version and await self.writer.rewrap(ref, opened, job.created_by) is not None

    async def _destroy_earlier(self, job: RewrapJob, ref: SecretRef) -> None:
        """Destroys what needs an older key, or may need one. Nothing brings it back, so the current version has to open first."""
        *earlier, current = await self.catalogue.versions(ref)
        old = [
            version.version
            for version in earlier
            if version.state is not State.DESTROYED and version.key_version < job.target
        ]
        # The first version of the key has no older one, whatever is not known of a version.
        if old and job.target > 1:
            await self.vault.open(ref, current.version)
            await self.changer.change(ref, Event.DESTROY, old)


@dataclass(frozen=True, slots=True)
class Rewrapper:
    """Starts jobs, and works on the one that runs. `new_id` gives UUIDv7."""

    vault: KeyVault
    jobs: RewrapJobs
    secret: SecretRewrapper
    clock: Clock
    new_id: Callable[[], str]

    async def start(self, actor: str, *, destroy_earlier: bool) -> RewrapJob:
        """A new job for the key as it is now. Raises FailedPrecondition REWRAP_RUNNING, and what vault and database raise."""
        key = await self.vault.key()
        now = self.clock.now()
        job = await self.jobs.start(
            RewrapJob(self.new_id(), JobState.RUNNING, key.latest, destroy_earlier, now, now, actor)
        )
        _logged(job).info("rewrap job started")
        return job

    async def cancel(self, job_id: str) -> RewrapJob:
        """Stops the job behind the batch it is at. Raises NotFound REWRAP_JOB_NOT_FOUND."""
        now = self.clock.now()
        job = await self.jobs.cancel(job_id, now)
        if job.state is JobState.CANCELLED and job.end_time == now:
            _logged(job).info("rewrap job cancelled")
        return job

    async def run(self) -> None:
        """Works on whatever job runs, until cancelled. Survives the loss of vault and database."""
        while True:
            try:
                advanced = await self._advance()
            except MeshError as error:
                logger.bind(reason=error.reason).debug("rewrap job waits")
                advanced = False
            if not advanced:
                await self.clock.sleep(INTERVAL)

    async def _advance(self) -> bool:
        """Whether there is reason to go on at once."""
        if await self.jobs.running() is None:
            return False
        waits = True

        async def work(job: RewrapJob, refs: Sequence[SecretRef]) -> Progress:
            nonlocal waits
            progress, waits = await self._batch(job, refs)
            return progress

        job = await self.jobs.advance(work, BATCH, self.clock.now)
        if job is not None and job.state in {JobState.SUCCEEDED, JobState.FAILED}:
            _logged(job).info("rewrap job ended")
        return not waits

    async def _batch(self, job: RewrapJob, refs: Sequence[SecretRef]) -> tuple[Progress, bool]:
        """What became of the secrets, and whether one has to wait."""
        if not refs:
            end = JobState.FAILED if job.failed_count else JobState.SUCCEEDED
            return Progress(0, 0, 0, 0, end=end), False
        slots = asyncio.Semaphore(IN_FLIGHT)
        waiting = asyncio.Event()
        end_of_slice = self.clock.monotonic() + SLICE.total_seconds()

        async def one(ref: SecretRef) -> Result:
            async with slots:
                if waiting.is_set() or self.clock.monotonic() > end_of_slice:
                    return Result(Outcome.WAITS)
                result = await self.secret.rewrap(job, ref)
            if result.outcome is Outcome.WAITS:
                waiting.set()
            if result.reason:
                secret = logger.bind(bot_id=ref.bot_id, secret_name=ref.name, reason=result.reason)
                secret.debug("secret not rewrapped")
            return result

        results = await asyncio.gather(*(one(ref) for ref in refs), return_exceptions=True)
        return _progress([_result(result) for result in results]), waiting.is_set()


def _result(result: Result | BaseException) -> Result:
    """Raises what is no outcome but a defect, once nobody is at work any more."""
    if isinstance(result, BaseException):
        raise result
    return result


def _progress(results: Sequence[Result]) -> Progress:
    """Counts up to the first that has to wait, so that nothing behind it is passed over."""
    done = list(takewhile(lambda result: result.outcome is not Outcome.WAITS, results))
    count = Counter(result.outcome for result in done)
    failures = [result.reason for result in done if result.outcome is Outcome.FAILED]
    return Progress(
        done=len(done),
        rewrapped=count[Outcome.REWRAPPED],
        skipped=count[Outcome.SKIPPED],
        failed=len(failures),
        last_failure=failures[-1] if failures else "",
    )


def _logged(job: RewrapJob) -> "Logger":
    """The log with what is known of the job."""
    return logger.bind(
        job_id=job.id,
        state=job.state.value,
        key_version=job.target,
        total=job.total_count,
        rewrapped=job.rewrapped_count,
        skipped=job.skipped_count,
        failed=job.failed_count,
    )
