"""A new version of the key for every secret, on a real vault, while the secrets are in use."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import pytest
from sqlalchemy import func, select

from cli.embedded import EmbeddedMesh
from mesh.errors import Aborted, FailedPrecondition, MeshError
from mesh.ids import new_id
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import JobState, OpenedVersion, SecretRef, State
from services.secure_bot_data.domain.rewrapping import BATCH, INTERVAL, SLICE
from services.secure_bot_data.store.rewrap_jobs import LOCK
from tests.integration.services.secure_bot_data.conftest import CALLER, MINUTE, Parts, oauth1
from tests.integration.services.secure_bot_data.rewrapping.conftest import ACTOR, Replica
from tests.integration.services.secure_bot_data.root import Root

KEY = "vivesphere-transit/keys/bot-secrets"


@dataclass
class Readers:
    """Read secrets over and over and remember what was wrong."""

    parts: Parts
    refs: Sequence[SecretRef]
    reads: int = 0
    wrong: list[str] = field(default_factory=list)

    async def read(self, first: int) -> None:
        """Until cancelled."""
        place = first
        while True:
            ref = self.refs[place % len(self.refs)]
            place += 7
            try:
                opened = await self.parts.reader.reveal(ref, 0, "look", CALLER)
            except MeshError as error:
                self.wrong.append(error.reason)
            else:
                if opened.fields != oauth1(ref.bot_id).fields:
                    self.wrong.append("another value")
            self.reads += 1


async def test_all_secrets_are_rewrapped_while_they_are_read(replica: Replica, other: Replica) -> None:
    """Nobody who posts meanwhile may notice."""
    refs = await replica.write(200)
    job = await replica.start()
    readers = Readers(other.parts, refs)
    reading = [asyncio.create_task(readers.read(first)) for first in range(3)]
    ended = await replica.finish(job)
    for task in reading:
        task.cancel()
    await asyncio.wait(reading)
    assert (ended.state, ended.total_count, ended.rewrapped_count) == (JobState.SUCCEEDED, 200, 200)
    assert (ended.skipped_count, ended.failed_count, ended.last_failure) == (0, 0, "")
    assert readers.wrong == []
    assert readers.reads > 3
    for ref in refs[::50]:
        opened = await other.parts.vault.open(ref, 0)
        assert (opened.version, opened.description.key_version) == (2, job.target)
        assert opened.fields == oauth1(ref.bot_id).fields
    [before, after] = [
        (use.key_version, use.current_count, use.earlier_count) for use in await other.keys.uses()
    ]
    assert (before, after) == ((job.target - 1, 0, 200), (job.target, 200, 0))


async def test_the_catalogue_tells_keys_and_where_a_version_comes_from(
    replica: Replica, ref: SecretRef
) -> None:
    """People see in lists what was done to a secret and by whom."""
    written = await replica.parts.writer.put(ref, oauth1(), None, CALLER)
    job = await replica.start()
    await replica.finish(job)
    metadata = await replica.parts.catalogue.get(ref)
    assert (written.key_version, metadata.key_version) == (job.target - 1, job.target)
    assert (metadata.updated_by, metadata.owner, metadata.kind) == (ACTOR, written.owner, written.kind)
    versions = await replica.parts.catalogue.list_versions(ref, before=None, limit=9)
    told = [(found.version, found.rewrapped_from, found.key_version, found.created_by) for found in versions]
    assert told == [(2, 1, job.target, ACTOR), (1, 0, job.target - 1, CALLER.actor)]


async def test_the_settler_copies_keys_too(replica: Replica, ref: SecretRef) -> None:
    """A catalogue that is made from the vault must know as much as one that was kept."""
    await replica.parts.writer.put(ref, oauth1(), None, CALLER)
    await replica.finish(await replica.start())
    before = await replica.keys.versions(ref)
    async with replica.parts.database.transaction(concludes=False) as connection:
        for table in ("secrets", "secret_versions"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608 - a constant
    await replica.parts.settler.settle(ref)
    assert await replica.keys.versions(ref) == before


async def test_writers_are_neither_lost_nor_refused(replica: Replica, other: Replica) -> None:
    """What somebody stores while the job is at the very same secret is what is read afterwards."""
    refs = await replica.write(60)
    job = await replica.start()
    slots = asyncio.Semaphore(8)

    async def write(ref: SecretRef) -> int:
        async with slots:
            return (await other.parts.writer.put(ref, oauth1("new"), None, CALLER)).version

    # From the end, so that they meet the job on its way.
    writing = asyncio.gather(*(write(ref) for ref in reversed(refs)))
    ended = await replica.finish(job)
    assert set(await writing) <= {2, 3}
    assert (ended.state, ended.failed_count) == (JobState.SUCCEEDED, 0)
    assert ended.rewrapped_count + ended.skipped_count == 60
    for ref in refs:
        opened = await replica.parts.vault.open(ref, 0)
        assert (opened.fields, opened.description.key_version) == (oauth1("new").fields, job.target)
        assert (await replica.parts.catalogue.get(ref)).version == opened.version


async def test_two_replicas_work_on_one_job_one_after_another(replica: Replica, other: Replica) -> None:
    """Side by side they would only race each other for every secret."""
    refs = await replica.write(60)
    job = await replica.start()
    async with replica.working(), other.working():
        ended = await replica.ends(job)
    assert (ended.state, ended.rewrapped_count, ended.skipped_count) == (JobState.SUCCEEDED, 60, 0)
    assert {(await replica.parts.catalogue.get(ref)).version for ref in refs} == {2}


async def test_one_job_runs_in_the_whole_fleet(replica: Replica, other: Replica) -> None:
    """Of two administrators who start one at the same time the second learns of the first."""
    outcomes = await asyncio.gather(
        *(each.rewrapper.start(ACTOR, destroy_earlier=False) for each in (replica, other)),
        return_exceptions=True,
    )
    [refused] = [outcome for outcome in outcomes if isinstance(outcome, FailedPrecondition)]
    running = await replica.jobs.running()
    assert running is not None
    assert (refused.reason, refused.metadata) == ("REWRAP_RUNNING", {"jobId": running.id})
    assert [job.id for job in await other.jobs.list_jobs(before=None, limit=9)] == [running.id]


async def test_a_cancelled_job_stops_soon(
    replica: Replica, other: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done stays done, and another job does the rest."""
    await replica.write(100)
    job = await replica.start()
    reached, go_on = asyncio.Event(), asyncio.Event()
    opens, really_open = count(), replica.parts.vault.open

    async def open_slowly(ref: SecretRef, version: int) -> OpenedVersion:
        """In the middle of the second batch nothing moves until the test says so."""
        if next(opens) > BATCH:
            reached.set()
            await go_on.wait()
        return await really_open(ref, version)

    monkeypatch.setattr(replica.parts.vault, "open", open_slowly)
    async with replica.working():
        await reached.wait()
        cancelled = await other.rewrapper.cancel(job.id)
        await asyncio.sleep(SLICE.total_seconds())
        go_on.set()
        await _batch_is_over(other)
        at_rest = await other.jobs.get(job.id)
        await asyncio.sleep(INTERVAL.total_seconds() * 1.5)
        assert await other.jobs.get(job.id) == at_rest
        assert (at_rest.state, at_rest.end_time) == (JobState.CANCELLED, cancelled.end_time)
        assert 0 < at_rest.rewrapped_count < 100
        assert await _current(other, job.target) == at_rest.rewrapped_count
        ended = await other.ends(await other.rewrapper.start(ACTOR, destroy_earlier=False))
    assert (ended.state, ended.skipped_count) == (JobState.SUCCEEDED, at_rest.rewrapped_count)
    assert await _current(other, job.target) == 100


async def test_a_seal_in_the_middle_delays_only(replica: Replica, other: Replica, root: Root) -> None:
    """The job goes on by itself as soon as the vault is back."""
    await replica.write(100)
    job = await replica.start()
    async with replica.working():
        try:
            await other.becomes(job, lambda found: found.rewrapped_count > 0)
            await root.seal()
            # More than one round of waiting.
            await asyncio.sleep(2.5)
            sealed = await other.jobs.get(job.id)
        finally:
            await root.restart()
        ended = await other.ends(job)
    assert (sealed.state, sealed.failed_count) == (JobState.RUNNING, 0)
    assert 0 < sealed.rewrapped_count < 100
    assert (ended.state, ended.rewrapped_count, ended.skipped_count) == (JobState.SUCCEEDED, 100, 0)


async def test_a_secret_that_was_tampered_with_fails_alone(replica: Replica, root: Root) -> None:
    """And the old version of the key cannot be retired until somebody has looked after it."""
    refs = await replica.write(20)
    bad = refs[10]
    stored = (await root.kv("GET", bad.bot_id, bad.name))["data"]["data"]
    changed = stored | {"ciphertext": stored["ciphertext"][:-8] + "AAAAAAA="}
    await root.kv("POST", bad.bot_id, bad.name, {"data": changed, "options": {"cas": 1}})
    await replica.parts.settler.settle(bad)
    job = await replica.start()
    ended = await replica.finish(job)
    assert (ended.state, ended.rewrapped_count, ended.failed_count) == (JobState.FAILED, 19, 1)
    assert ended.last_failure == "INTERNAL"
    assert (await replica.parts.catalogue.get(bad)).version == 2
    with pytest.raises(FailedPrecondition) as caught:
        await replica.keeper.retire(job.target)
    assert caught.value.reason == "KEY_VERSION_IN_USE"


async def test_old_versions_are_retired_once_nothing_needs_them(replica: Replica, root: Root) -> None:
    """Refused before, allowed after; what is current can be read all the while."""
    refs = await replica.write(10)
    await replica.parts.changer.change(refs[0], Event.DELETE, [])
    kept = await replica.start()
    await replica.finish(kept)
    with pytest.raises(FailedPrecondition) as caught:
        await replica.keeper.retire(kept.target)
    # Nine earlier versions, and the deleted secret.
    assert caught.value.message.startswith("10 versions")
    await replica.parts.changer.change(refs[0], Event.DESTROY, [])
    destroying = await replica.rewrapper.start(ACTOR, destroy_earlier=True)
    ended = await replica.finish(destroying)
    assert (ended.state, ended.rewrapped_count, ended.skipped_count) == (JobState.SUCCEEDED, 0, 10)
    key = await replica.keeper.retire(kept.target)
    assert (key.min_decryption, key.latest) == (kept.target, kept.target)
    assert root.call("GET", KEY)["data"]["min_decryption_version"] == kept.target
    for ref in refs[1:]:
        opened = await replica.parts.reader.reveal(ref, 0, "look", CALLER)
        assert opened.fields == oauth1(ref.bot_id).fields
        assert await _refused(replica, ref, 1) == "SECRET_DESTROYED"
    assert await replica.keeper.retire(1) == key


async def test_a_version_whose_key_is_gone_is_told_as_destroyed(
    replica: Replica, ref: SecretRef, root: Root
) -> None:
    """An administrator of the vault retires without asking us; who reads must not look for somebody who tampered."""
    await replica.parts.writer.put(ref, oauth1("old"), None, CALLER)
    await replica.keeper.rotate(None)
    latest = (await replica.keeper.rotate(None)).latest
    await replica.parts.writer.put(ref, oauth1("new"), None, CALLER)
    least = root.call("GET", KEY)["data"]["min_decryption_version"]
    root.call("POST", f"{KEY}/config", {"min_decryption_version": latest})
    try:
        assert await _refused(replica, ref, 1) == "SECRET_DESTROYED"
        assert (await replica.parts.reader.reveal(ref, 0, "look", CALLER)).version == 2
        lost = SecretRef(new_id(), "token")
        await replica.parts.writer.put(lost, oauth1(), None, CALLER)
        root.call("POST", f"{KEY}/rotate")
        root.call("POST", f"{KEY}/config", {"min_decryption_version": latest + 1})
        job = await replica.rewrapper.start(ACTOR, destroy_earlier=True)
        ended = await replica.finish(job)
        # Nothing is lost that was not lost before.
        assert (ended.state, ended.failed_count, ended.last_failure) == (
            JobState.FAILED,
            2,
            "SECRET_DESTROYED",
        )
        states = [version.state for version in await replica.keys.versions(ref)]
        assert states == [State.ACTIVE, State.ACTIVE]
    finally:
        root.call("POST", f"{KEY}/config", {"min_decryption_version": least})
    assert (await replica.parts.reader.reveal(ref, 1, "look", CALLER)).fields == oauth1("old").fields


async def test_what_the_release_before_wrote_is_looked_up(
    replica: Replica, ref: SecretRef, engines: EmbeddedMesh
) -> None:
    """It left the key's version at 0, for current and earlier versions; a deleted one tells nothing and stays in the way."""
    for _ in range(3):
        await replica.parts.writer.put(ref, oauth1(), None, CALLER)
    await replica.parts.changer.change(ref, Event.DELETE, [1])
    with engines.admin.connect(autocommit=True) as connection:
        connection.execute("UPDATE secure_bot_data.secret_versions SET key_version = 0")
    job = await replica.rewrapper.start(ACTOR, destroy_earlier=False)
    ended = await replica.finish(job)
    assert (ended.state, ended.skipped_count) == (JobState.SUCCEEDED, 1)
    assert [version.key_version for version in await replica.keys.versions(ref)] == [
        0,
        job.target,
        job.target,
    ]
    with pytest.raises(FailedPrecondition):
        await replica.keeper.retire((await replica.keeper.rotate(None)).latest)
    await replica.parts.changer.change(ref, Event.UNDELETE, [1])
    await replica.finish(await replica.rewrapper.start(ACTOR, destroy_earlier=False))
    assert (await replica.keys.versions(ref))[0].key_version == job.target


async def test_a_claim_and_its_doubt_outlive_a_rewrap(replica: Replica, ref: SecretRef) -> None:
    """The new version holds the same token: nobody else may exchange it, and whoever claims next learns of the interruption."""
    rotator = replica.parts.rotator
    await replica.parts.writer.put(ref, oauth1(), None, CALLER)
    held = (await rotator.claim(ref, MINUTE, CALLER)).claim
    ended = await replica.finish(await replica.start())
    assert (ended.state, ended.rewrapped_count) == (JobState.SUCCEEDED, 1)
    with pytest.raises(Aborted) as refused:
        await rotator.claim(ref, MINUTE, CALLER)
    assert refused.value.reason == "ROTATION_CLAIMED"
    assert await rotator.release(ref, held.id, settled=False)
    again = await rotator.claim(ref, MINUTE, CALLER)
    assert (again.claim.version, again.interrupted) == (2, True)


async def test_rotations_with_the_same_expectation_make_one_version(replica: Replica, other: Replica) -> None:
    """The vault knows no compare-and-set for keys, so we have to."""
    latest = (await replica.parts.vault.key()).latest
    outcomes = await asyncio.gather(
        *(each.keeper.rotate(latest) for each in (replica, other, replica, other)), return_exceptions=True
    )
    refused = [outcome.reason for outcome in outcomes if isinstance(outcome, MeshError)]
    assert refused == ["VERSION_MISMATCH"] * 3
    assert (await replica.parts.vault.key()).latest == latest + 1


async def _batch_is_over(replica: Replica) -> None:
    """Returns once nobody is at work, which holds the lock meanwhile."""
    async with replica.parts.database.transaction(concludes=False) as connection:
        lock = func.pg_advisory_xact_lock(func.hashtextextended(LOCK, 0))
        await connection.execute(select(lock))


async def _refused(replica: Replica, ref: SecretRef, version: int) -> str:
    with pytest.raises(MeshError) as caught:
        await replica.parts.reader.reveal(ref, version, "look", CALLER)
    return caught.value.reason


async def _current(replica: Replica, key_version: int) -> int:
    """How many secrets are under a version of the key."""
    return sum(use.current_count for use in await replica.keys.uses() if use.key_version == key_version)
