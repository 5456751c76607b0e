"""Claims on PostgreSQL: one of many wins, whatever the replicas' clocks show, and a successor ends the claim in the same commit."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Row

from mesh.clock import SystemClock
from mesh.database import Database
from mesh.errors import Aborted, FailedPrecondition, OutcomeUnknown, ResourceExhausted, Unavailable
from mesh.ids import new_id
from mesh.vault import VaultClient
from services.secure_bot_data.domain.model import Draft, OpenedVersion, SecretKind, SecretMetadata, SecretRef
from services.secure_bot_data.domain.rotating import Claimed, judge
from services.secure_bot_data.store.catalogue import PostgresCatalogue
from services.secure_bot_data.store.rotations import PostgresRotations
from services.secure_bot_data.store.tables import rotations, secret_versions, secrets
from services.secure_bot_data.store.vault import VaultSecrets
from tests.integration.services.secure_bot_data.conftest import CALLER, MINUTE, Parts, oauth1

SECOND = timedelta(seconds=1)
OpenParts = Callable[..., Parts]


class SkewedClock(SystemClock):
    """The clock of a machine that is wrong."""

    def __init__(self, error: timedelta) -> None:
        self._error = error

    def now(self) -> datetime:
        """Wrong by the error."""
        return super().now() + self._error


class LosingCatalogue(PostgresCatalogue):
    """Loses its database when it shall record what the vault has taken."""

    async def record(self, *_: object, **__: object) -> SecretMetadata:
        """See `Catalogue.record`."""
        raise Unavailable("DATABASE_UNAVAILABLE", "the database does not answer")


class SlowVault(VaultSecrets):
    """Opens when told to."""

    def __init__(self, client: VaultClient, prefix: str) -> None:
        super().__init__(client, prefix)
        self.asked, self.fetch = asyncio.Event(), asyncio.Event()

    async def open(self, ref: SecretRef, version: int) -> OpenedVersion:
        """See `SecretVault.open`."""
        self.asked.set()
        await self.fetch.wait()
        return await super().open(ref, version)


async def test_of_many_claimants_on_two_replicas_one_wins(open_parts: OpenParts, ref: SecretRef) -> None:
    """The right to exchange a token that is good once."""
    replicas = (open_parts(), open_parts())
    await replicas[0].writer.put(ref, oauth1(), None, CALLER)
    outcomes = await asyncio.gather(
        *(replicas[turn % 2].rotator.claim(ref, MINUTE, CALLER) for turn in range(32)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Aborted)]
    assert len([outcome for outcome in outcomes if isinstance(outcome, Claimed)]) == 1
    assert len(refused) == 31
    assert {error.reason for error in refused} == {"ROTATION_CLAIMED"}
    assert all(error.retry_after and timedelta() < error.retry_after <= MINUTE for error in refused)


@pytest.mark.parametrize("error", [timedelta(minutes=9), -timedelta(minutes=9)])
async def test_a_wrong_clock_does_not_let_claims_overlap(
    open_parts: OpenParts, ref: SecretRef, error: timedelta
) -> None:
    """A replica whose clock is ahead must not think the claim over, nor one behind grant a longer one than it says."""
    right, wrong = open_parts(), open_parts(SkewedClock(error))
    await right.writer.put(ref, oauth1(), None, CALLER)
    for first, second in ((right, wrong), (wrong, right)):
        claim = (await first.rotator.claim(ref, MINUTE, CALLER)).claim
        assert claim.expire_time - claim.create_time == MINUTE
        with pytest.raises(Aborted) as refused:
            await second.rotator.claim(ref, MINUTE, CALLER)
        assert refused.value.retry_after is not None
        assert refused.value.retry_after <= MINUTE
        assert await second.rotator.release(ref, claim.id, settled=True)


@pytest.mark.parametrize("error", [timedelta(minutes=9), -timedelta(minutes=9)])
async def test_a_wrong_clock_grants_counts_and_revokes_leases_like_a_right_one(
    open_parts: OpenParts, ref: SecretRef, error: timedelta
) -> None:
    """Leases of one replica are in force for another, so the limit holds, revoking ends them all, and none outlives its secret."""
    right, wrong = open_parts(), open_parts(SkewedClock(error))
    right.max_leases = wrong.max_leases = 1
    await right.writer.put(ref, oauth1(), None, CALLER)
    for first, second in ((right, wrong), (wrong, right)):
        _, lease = await first.reader.lease(ref, 0, MINUTE, "publish", CALLER)
        assert lease.expire_time - lease.create_time == MINUTE
        assert abs(lease.create_time - datetime.now(UTC)) < MINUTE
        with pytest.raises(ResourceExhausted):
            await second.reader.lease(ref, 0, MINUTE, "publish", CALLER)
        assert await second.reader.revoke(ref.bot_id, "bot paused") == 1
    ending = Draft(SecretKind.X_OAUTH1, oauth1().fields, expire_time=datetime.now(UTC) + 2 * SECOND)
    await right.writer.put(ref, ending, None, CALLER)
    _, last = await wrong.reader.lease(ref, 0, MINUTE, "publish", CALLER)
    assert last.expire_time == ending.expire_time
    assert last.expire_time - last.create_time <= 2 * SECOND


async def test_the_successor_and_the_end_of_the_claim_are_one_commit(parts: Parts, ref: SecretRef) -> None:
    """Between the two a crash would leave a claim that says it was interrupted, or one that keeps others out."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    claim = (await parts.rotator.claim(ref, MINUTE, CALLER)).claim
    await parts.writer.put(ref, oauth1("next"), 1, CALLER, rotation_id=claim.id)
    row = await _row(parts.database, ref)
    assert (row.id, row.in_force, row.settled) == (claim.id, False, True)
    again = await parts.rotator.claim(ref, MINUTE, CALLER)
    assert (again.claim.version, again.interrupted) == (2, False)


async def test_a_database_lost_before_that_commit_leaves_neither(parts: Parts, ref: SecretRef) -> None:
    """The vault has the successor; the version tells that the claim is done, as soon as anybody looks."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    claim = (await parts.rotator.claim(ref, MINUTE, CALLER)).claim
    losing = LosingCatalogue(parts.database)
    running = asyncio.create_task(losing.run())
    with pytest.raises(OutcomeUnknown):
        await replace(parts.writer, catalogue=losing).put(
            ref, oauth1("next"), 1, CALLER, rotation_id=claim.id
        )
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (await _row(parts.database, ref)).in_force
    with pytest.raises(Aborted) as moved:
        await parts.writer.put(ref, oauth1("next"), 1, CALLER, rotation_id=claim.id)
    assert moved.value.reason == "VERSION_MISMATCH"
    again = await parts.rotator.claim(ref, MINUTE, CALLER)
    assert (again.claim.version, again.interrupted) == (2, False)


async def test_a_slow_claimant_stores_although_its_claim_has_passed_on(parts: Parts, ref: SecretRef) -> None:
    """It holds the only successor there is; whoever claimed after it learns that the version has moved."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    slow = (await parts.rotator.claim(ref, SECOND / 10, CALLER)).claim
    await asyncio.sleep(0.15)
    other = await parts.rotator.claim(ref, MINUTE, CALLER)
    assert other.interrupted
    assert (await parts.writer.put(ref, oauth1("next"), 1, CALLER, rotation_id=slow.id)).version == 2
    with pytest.raises(Aborted):
        await parts.writer.put(ref, oauth1("other"), 1, CALLER, rotation_id=other.claim.id)
    row = await _row(parts.database, ref)
    assert (row.id, row.in_force, row.settled) == (other.claim.id, False, True)
    assert not await parts.rotator.release(ref, other.claim.id, settled=False)
    assert not (await parts.rotator.claim(ref, MINUTE, CALLER)).interrupted


async def test_a_person_who_replaces_the_secret_frees_it(parts: Parts, ref: SecretRef) -> None:
    """New credentials have nothing to do with an exchange of the old ones."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    await parts.rotator.claim(ref, MINUTE, CALLER)
    await parts.writer.put(ref, oauth1("reconnected"), None, CALLER)
    again = await parts.rotator.claim(ref, MINUTE, CALLER)
    assert (again.claim.version, again.interrupted) == (2, False)


async def test_a_version_that_was_encrypted_anew_stays_claimed(parts: Parts, ref: SecretRef) -> None:
    """It holds the very token that is being exchanged."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    await parts.rotator.claim(ref, MINUTE, CALLER)
    await parts.writer.put(ref, oauth1(), 1, CALLER)
    async with parts.database.transaction(concludes=False) as connection:
        newest = secret_versions.c.bot_id == ref.bot_id, secret_versions.c.version == 2
        await connection.execute(secret_versions.update().where(*newest).values(rewrapped_from=1))
    with pytest.raises(Aborted):
        await parts.rotator.claim(ref, MINUTE, CALLER)


async def test_a_claim_waits_for_a_writer_that_is_recording(parts: Parts, ref: SecretRef) -> None:
    """Otherwise it would be of a version that is no longer current when it is made."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    async with parts.database.transaction(concludes=False) as connection:
        mine = secrets.update().where(secrets.c.bot_id == ref.bot_id)
        await connection.execute(mine.values(version=2))
        renumbered = secret_versions.update().where(secret_versions.c.bot_id == ref.bot_id)
        await connection.execute(renumbered.values(version=2))
        claiming = asyncio.create_task(_claim_unsettled(parts, ref))
        await asyncio.sleep(0.1)
        assert not claiming.done()
    assert (await claiming).claim.version == 2


async def test_a_late_release_does_not_undo_a_claim_that_is_being_made(parts: Parts, ref: SecretRef) -> None:
    """The old holder's word must not replace the new one's claim, or a third would be let in."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    late = (await parts.rotator.claim(ref, MINUTE, CALLER)).claim
    newer = new_id()
    async with parts.database.transaction(concludes=False) as connection:
        mine = rotations.update().where(rotations.c.bot_id == ref.bot_id)
        await connection.execute(mine.values(id=newer))
        releasing = asyncio.create_task(parts.rotator.release(ref, late.id, settled=True))
        await asyncio.sleep(0.1)
        assert not releasing.done()
    assert not await releasing
    row = await _row(parts.database, ref)
    assert (row.id, row.in_force) == (newer, True)


@pytest.mark.parametrize("error", [timedelta(), timedelta(minutes=9), -timedelta(minutes=9)])
async def test_a_lease_that_was_asked_for_before_the_bot_stopped_is_not_made_after(
    open_parts: OpenParts, ref: SecretRef, error: timedelta
) -> None:
    """Its values were still being fetched when the bot's leases were ended; whoever asks anew gets one."""
    parts = open_parts(SkewedClock(error))
    await parts.writer.put(ref, oauth1(), None, CALLER)
    vault = SlowVault(parts.client, parts.prefix)
    running = asyncio.create_task(vault.run())
    leasing = asyncio.create_task(replace(parts.reader, vault=vault).lease(ref, 0, MINUTE, "publish", CALLER))
    await vault.asked.wait()
    assert await parts.reader.revoke(ref.bot_id, "bot paused") == 0
    vault.fetch.set()
    with pytest.raises(Aborted) as refused:
        await leasing
    assert refused.value.reason == "LEASES_REVOKED"
    assert await parts.reader.revoke(ref.bot_id, "counted") == 0
    await parts.reader.lease(ref, 0, MINUTE, "publish", CALLER)
    assert await parts.reader.revoke(ref.bot_id, "counted") == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_expired_secret_is_refused_whatever_the_replica_thinks(
    open_parts: OpenParts, ref: SecretRef
) -> None:
    """A clock that is behind would go on lending what has ended."""
    behind = open_parts(SkewedClock(-timedelta(minutes=9)))
    ending = Draft(SecretKind.X_OAUTH1, oauth1().fields, expire_time=datetime.now(UTC) + SECOND / 5)
    await behind.writer.put(ref, ending, None, CALLER)
    await asyncio.sleep(0.25)
    for asking in (
        behind.reader.lease(ref, 0, MINUTE, "publish", CALLER),
        behind.rotator.claim(ref, MINUTE, CALLER),
    ):
        with pytest.raises(FailedPrecondition) as refused:
            await asking
        assert refused.value.reason == "SECRET_EXPIRED"


async def _claim_unsettled(parts: Parts, ref: SecretRef) -> Claimed:
    """A claim by the store alone: the vault of this test knows nothing of what the catalogue is told."""
    store = PostgresRotations(parts.database)
    return await store.claim(ref, lambda standing: judge(standing, ref.bot_id, "x", MINUTE))


async def _row(database: Database, ref: SecretRef) -> Row[Any]:
    async with database.read() as connection:
        query = rotations.select().where(rotations.c.bot_id == ref.bot_id, rotations.c.name == ref.name)
        return (await connection.execute(query)).one()
