"""The rewrap job: what it does to each secret, and what happens when something goes away or comes in between."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from mesh.errors import Aborted, FailedPrecondition, Internal, OutcomeUnknown, Unavailable
from mesh.ids import new_id
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import JobState, RewrapJob, SecretRef, State
from services.secure_bot_data.domain.rewrapping import BATCH, INTERVAL, Outcome, Rewrapper, SecretRewrapper
from tests.unit.services.secure_bot_data.conftest import CALLER, REF, draft
from tests.unit.services.secure_bot_data.key_fakes import Keys, MemoryJobs

AWAY = Unavailable("VAULT_SEALED", "the secret store is sealed")
LOST = OutcomeUnknown("VAULT_UNAVAILABLE", "the secret store did not confirm the write")
TAMPERED = Internal("INTERNAL", "a secret in the vault does not open")
ACTOR = "user-1"
LONG = timedelta(minutes=2)


class Rewrapping(Keys):
    """What a test needs to run jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs = MemoryJobs(self.catalogue)
        self.secret = SecretRewrapper(
            self.vault, self.catalogue, self.writer, self.changer, self.writer.settler
        )
        self.rewrapper = Rewrapper(self.vault, self.jobs, self.secret, self.clock, new_id)

    async def write(self, count: int) -> list[SecretRef]:
        """Secrets of as many bots."""
        refs = [SecretRef(new_id(), "token") for _ in range(count)]
        for ref in refs:
            await self.writer.put(ref, draft(ref.bot_id), None, CALLER)
        return refs

    async def start(self, *, destroy_earlier: bool = False) -> RewrapJob:
        """Makes a new version of the key and a job for it."""
        await self.keeper.rotate(None)
        return await self.rewrapper.start(ACTOR, destroy_earlier=destroy_earlier)

    async def run(self, time: timedelta = LONG) -> None:
        """Lets the job be worked on."""
        loop = asyncio.create_task(self.rewrapper.run())
        await self.clock.advance(time)
        while not (self.clock.sleeping or loop.done()):
            await asyncio.sleep(0)  # it works through more secrets than the clock waits for
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    async def told(self) -> tuple[JobState, int, int, int, str]:
        """State, counts and last failure of the last job."""
        job = list(self.jobs.jobs.values())[-1]
        return job.state, job.rewrapped_count, job.skipped_count, job.failed_count, job.last_failure


@pytest.fixture
def all_of() -> Rewrapping:
    return Rewrapping()


async def test_every_secret_comes_under_the_newest_version(all_of: Rewrapping) -> None:
    """More of them than fit into a batch, and each with its own values."""
    refs = await all_of.write(2 * BATCH + 1)
    job = await all_of.start()
    assert (job.state, job.total_count, job.target) == (JobState.RUNNING, len(refs), 2)
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, len(refs), 0, 0, "")
    for ref in refs:
        opened = await all_of.vault.open(ref, 0)
        assert (opened.version, opened.description.key_version) == (2, 2)
        assert opened.fields == draft(ref.bot_id).fields
    assert all_of.catalogue.markers == {}


async def test_a_rewrapped_secret_says_what_it_said_before(all_of: Rewrapping) -> None:
    """Only who encrypted it, when and from which version is new."""
    now = all_of.clock.now()
    written = replace(draft(), expire_time=now + LONG, rotate_time=now + LONG / 2, owner="somebody")
    await all_of.writer.put(REF, written, None, CALLER)
    before = await all_of.vault.describe(REF, 1)
    await all_of.clock.advance(timedelta(seconds=1))
    await all_of.start()
    await all_of.run(timedelta(seconds=1))
    after = await all_of.vault.describe(REF, 2)
    assert (after.rewrapped_from, after.created_by, after.key_version) == (1, ACTOR, 2)
    assert after.create_time > before.create_time
    assert after.write_id != before.write_id
    same = {name: getattr(before, name) for name in ("create_time", "created_by", "write_id", "key_version")}
    assert replace(after, rewrapped_from=0, **same) == before


async def test_what_needs_nothing_is_skipped(all_of: Rewrapping) -> None:
    """Deleted and destroyed secrets stay as they are; whoever was written after the rotation is under the key."""
    deleted, destroyed, replaced = await all_of.write(3)
    await all_of.changer.change(deleted, Event.DELETE, [])
    await all_of.changer.change(destroyed, Event.DESTROY, [])
    await all_of.start()
    await all_of.writer.put(replaced, draft("new"), None, CALLER)
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, 0, 3, 0, "")


async def test_an_expired_secret_is_rewrapped(all_of: Rewrapping) -> None:
    """Left behind, it would keep the old version of the key in use for ever."""
    soon = all_of.clock.now() + timedelta(seconds=1)
    await all_of.writer.put(REF, replace(draft(), expire_time=soon), None, CALLER)
    await all_of.clock.advance(LONG)
    await all_of.start()
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, 1, 0, 0, "")
    assert (await all_of.vault.describe(REF, 2)).expire_time == soon


async def test_a_secret_that_does_not_open_fails_alone(all_of: Rewrapping) -> None:
    """Somebody tampered with one; the others must not stay under a key that is to be retired."""
    await all_of.write(5)
    await all_of.start()
    all_of.vault.fail_next("open", TAMPERED)
    await all_of.run()
    assert await all_of.told() == (JobState.FAILED, 4, 0, 1, "INTERNAL")


@pytest.mark.parametrize("step", ["open", "seal", "put"])
async def test_a_job_waits_while_the_vault_is_away(all_of: Rewrapping, step: str) -> None:
    """A sealed vault is no fault of any secret."""
    await all_of.write(5)
    await all_of.start()
    all_of.vault.fail_next(step, AWAY)
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, 5, 0, 0, "")


@pytest.mark.parametrize("done", [True, False])
async def test_a_write_whose_outcome_is_unknown_is_looked_for(all_of: Rewrapping, done: bool) -> None:
    """Counted once, written once, whether it has arrived or not."""
    await all_of.write(5)
    await all_of.start()
    all_of.vault.fail_next("put", LOST, done=done)
    all_of.vault.fail_next("describe", AWAY)
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, 5, 0, 0, "")
    assert {len(await all_of.vault.facts(ref)) for ref in all_of.catalogue.rows} == {2}


async def test_what_a_dead_replica_did_is_counted_once(all_of: Rewrapping) -> None:
    """It died before it wrote down how far it was; nothing may be rewrapped twice because of that."""
    refs = await all_of.write(5)
    await all_of.clock.advance(INTERVAL)
    job = await all_of.start()
    for ref in refs[:3]:
        assert (await all_of.secret.rewrap(job, ref)).outcome is Outcome.REWRAPPED
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, 5, 0, 0, "")
    assert {len(await all_of.vault.facts(ref)) for ref in refs} == {2}


async def test_a_job_reaches_its_target_or_newer(all_of: Rewrapping) -> None:
    """A second rotation while it runs makes the rest of it newer, not endless."""
    await all_of.write(BATCH + 1)
    job = await all_of.start()
    await all_of.secret.rewrap(job, next(iter(all_of.catalogue.rows)))
    await all_of.keeper.rotate(None)
    await all_of.run()
    assert (await all_of.told())[:2] == (JobState.SUCCEEDED, BATCH + 1)
    uses = [(use.key_version, use.current_count) for use in await all_of.catalogue.uses()]
    assert uses == [(1, 0), (2, 1), (3, BATCH)]


async def test_one_job_runs_at_a_time(all_of: Rewrapping) -> None:
    """And who is refused learns which one."""
    job = await all_of.start()
    with pytest.raises(FailedPrecondition) as caught:
        await all_of.start()
    assert (caught.value.reason, caught.value.metadata) == ("REWRAP_RUNNING", {"jobId": job.id})


async def test_a_cancelled_job_does_no_more(all_of: Rewrapping) -> None:
    """What was done stays done, and another job may follow."""
    refs = await all_of.write(3)
    job = await all_of.start()
    await all_of.secret.rewrap(job, refs[0])
    cancelled = await all_of.rewrapper.cancel(job.id)
    assert (cancelled.state, cancelled.end_time) == (JobState.CANCELLED, all_of.clock.now())
    await all_of.run()
    assert await all_of.rewrapper.cancel(job.id) == cancelled
    assert [len(await all_of.vault.facts(ref)) for ref in refs] == [2, 1, 1]
    await all_of.rewrapper.start(ACTOR, destroy_earlier=False)
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, 2, 1, 0, "")


async def test_earlier_versions_are_destroyed_if_wanted(all_of: Rewrapping) -> None:
    """Then nothing needs the old versions of the key, and they can be retired."""
    await all_of.writer.put(REF, draft("one"), None, CALLER)
    await all_of.writer.put(REF, draft("two"), None, CALLER)
    await all_of.changer.change(REF, Event.DELETE, [1])
    await all_of.catalogue.forget_keys(REF)
    await all_of.start(destroy_earlier=True)
    await all_of.run()
    states = [(version.version, version.state) for version in await all_of.catalogue.versions(REF)]
    assert states == [(1, State.DESTROYED), (2, State.DESTROYED), (3, State.ACTIVE)]
    await all_of.clock.advance(LONG)
    await all_of.keeper.retire(2)
    assert (await all_of.vault.open(REF, 0)).fields == draft("two").fields


async def test_nothing_is_destroyed_while_the_current_version_does_not_open(all_of: Rewrapping) -> None:
    """The earlier one would be the only one that is left."""
    await all_of.writer.put(REF, draft(), None, CALLER)
    await all_of.keeper.rotate(None)
    await all_of.writer.put(REF, draft(), None, CALLER)
    await all_of.rewrapper.start(ACTOR, destroy_earlier=True)
    all_of.vault.fail_next("open", TAMPERED)
    await all_of.run()
    assert await all_of.told() == (JobState.FAILED, 0, 0, 1, "INTERNAL")
    assert [version.state for version in await all_of.catalogue.versions(REF)] == [State.ACTIVE] * 2


async def test_a_key_that_was_never_rotated_costs_no_version(all_of: Rewrapping) -> None:
    """There is no older key that anything could be under."""
    await all_of.writer.put(REF, draft(), None, CALLER)
    await all_of.writer.put(REF, draft(), None, CALLER)
    await all_of.changer.change(REF, Event.DELETE, [1])
    await all_of.catalogue.forget_keys(REF)
    await all_of.rewrapper.start(ACTOR, destroy_earlier=True)
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, 0, 1, 0, "")
    states = [version.state for version in await all_of.catalogue.versions(REF)]
    assert states == [State.DELETED, State.ACTIVE]


async def test_what_the_release_before_wrote_is_looked_up(all_of: Rewrapping) -> None:
    """Current and earlier versions; the vault knows what the catalogue was never told."""
    await all_of.writer.put(REF, draft(), None, CALLER)
    await all_of.keeper.rotate(None)
    await all_of.writer.put(REF, draft(), None, CALLER)
    await all_of.catalogue.forget_keys(REF)
    await all_of.rewrapper.start(ACTOR, destroy_earlier=False)
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, 0, 1, 0, "")
    assert [version.key_version for version in await all_of.catalogue.versions(REF)] == [1, 2]


async def test_a_lagging_catalogue_is_settled_on_the_way(all_of: Rewrapping) -> None:
    """A writer died between vault and catalogue; its version is the one to be rewrapped."""
    await all_of.writer.put(REF, draft("one"), None, CALLER)
    no_database = Unavailable("DATABASE_UNAVAILABLE", "the database does not answer")
    all_of.catalogue.fail_next("record", no_database)
    with pytest.raises(OutcomeUnknown):
        await all_of.writer.put(REF, draft("two"), None, CALLER)
    await all_of.start()
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, 1, 0, 0, "")
    opened = await all_of.vault.open(REF, 0)
    assert (opened.version, opened.fields) == (3, draft("two").fields)


async def test_a_lost_race_in_the_database_delays_only(all_of: Rewrapping) -> None:
    """Two transactions that were in each other's way say nothing about the secret."""
    await all_of.write(3)
    await all_of.start()
    all_of.catalogue.fail_next("announce", Aborted("VERSION_MISMATCH", "another writer was faster"))
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, 3, 0, 0, "")


async def test_a_failing_database_delays_only(all_of: Rewrapping) -> None:
    """Progress that was not written down is made again."""
    await all_of.write(3)
    await all_of.start()
    all_of.jobs.fail_next("advanced", Unavailable("DATABASE_UNAVAILABLE", "the database does not answer"))
    await all_of.run()
    assert await all_of.told() == (JobState.SUCCEEDED, 3, 0, 0, "")
