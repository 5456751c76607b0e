"""No value leaves without a row on the trail, and leases are few, short and revocable."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cli.embedded import EmbeddedMesh
from mesh.errors import NotFound, ResourceExhausted, Unavailable
from services.secure_bot_data.domain.model import Access, AccessKind, Caller, Draft, SecretKind, SecretRef
from services.secure_bot_data.store.trail import AccessFilter
from tests.integration.services.secure_bot_data.conftest import CALLER, MINUTE, Parts, oauth1

PERSON = Caller("0190c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b", "192.0.2.7", "request-2")


async def test_every_reading_is_on_the_trail_with_who_what_and_why(parts: Parts, ref: SecretRef) -> None:
    """After an incident the trail is all there is to go by."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    _, lease = await parts.reader.lease(ref, 0, MINUTE, "publish post 1", CALLER)
    await parts.reader.reveal(ref, 1, "support case", PERSON)
    revealed, leased = await _accesses(parts, ref)
    assert (revealed.kind, revealed.caller, revealed.reason) == (AccessKind.REVEAL, PERSON, "support case")
    assert (revealed.version, revealed.allowed, revealed.lease_id) == (1, True, None)
    assert (leased.kind, leased.caller, leased.version) == (AccessKind.LEASE, CALLER, 1)
    assert (leased.lease_id, leased.lease_end_time) == (lease.id, lease.expire_time)


async def test_refused_readings_are_on_the_trail_too(parts: Parts, ref: SecretRef) -> None:
    """Somebody trying names and versions is what an auditor looks for."""
    with pytest.raises(NotFound):
        await parts.reader.reveal(ref, 0, "curious", PERSON)
    await parts.writer.put(ref, oauth1(), None, CALLER)
    with pytest.raises(NotFound):
        await parts.reader.lease(ref, 9, MINUTE, "guess", CALLER)
    found = await _accesses(parts, ref)
    assert [(access.allowed, access.denied_reason, access.version) for access in found] == [
        (False, "SECRET_NOT_FOUND", 0)
    ] * 2


async def test_an_expired_secret_is_given_to_nobody(parts: Parts, ref: SecretRef) -> None:
    """Its expiry comes from the vault, so it holds even where the catalogue lags; a lease never outlives it."""
    soon = datetime.now(UTC) + timedelta(seconds=1)
    await parts.writer.put(ref, Draft(SecretKind.GENERIC, oauth1().fields, expire_time=soon), None, CALLER)
    _, lease = await parts.reader.lease(ref, 0, MINUTE, "publish", CALLER)
    assert lease.expire_time == soon
    await asyncio.sleep((soon - datetime.now(UTC)).total_seconds() + 0.05)
    with pytest.raises(Exception, match="expired"):
        await parts.reader.lease(ref, 0, MINUTE, "publish", CALLER)
    assert (await _accesses(parts, ref))[0].denied_reason == "SECRET_EXPIRED"


async def test_without_the_trail_no_value_is_given(
    parts: Parts, ref: SecretRef, engines: EmbeddedMesh
) -> None:
    """The rule of Vault's own audit devices, one level up."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    with engines.admin.connect() as blocking:
        blocking.execute("LOCK TABLE secure_bot_data.accesses IN ACCESS EXCLUSIVE MODE")
        for reading in (
            parts.reader.lease(ref, 0, MINUTE, "publish", CALLER),
            parts.reader.reveal(ref, 0, "look", PERSON),
        ):
            with pytest.raises(Unavailable) as caught:
                await reading
            assert caught.value.reason == "ACCESS_TRAIL_UNAVAILABLE"
    assert await _accesses(parts, ref) == []
    assert await _leases(parts, ref) == 0


async def test_a_bot_has_no_more_leases_than_allowed_even_in_a_race(parts: Parts, ref: SecretRef) -> None:
    """A stolen mesh identity must not fan out unnoticed."""
    parts.max_leases = 3
    await parts.writer.put(ref, oauth1(), None, CALLER)
    outcomes = await asyncio.gather(
        *(parts.reader.lease(ref, 0, MINUTE, "publish", CALLER) for _ in range(8)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, ResourceExhausted)]
    assert {error.reason for error in refused} == {"LEASE_LIMIT_REACHED"}
    assert all(error.retry_after and error.retry_after <= 2 * MINUTE for error in refused)
    assert (len(outcomes) - len(refused), await _leases(parts, ref)) == (3, 3)
    assert [access.allowed for access in await _accesses(parts, ref)].count(False) == 5


async def test_revoking_ends_every_lease_of_the_bot_once(parts: Parts, ref: SecretRef) -> None:
    """A paused bot has no lease in force, and the trail shows since when."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    _, lease = await parts.reader.lease(ref, 0, MINUTE, "publish", CALLER)
    await parts.reader.lease(ref, 0, MINUTE, "publish", CALLER)
    assert await parts.reader.revoke(ref.bot_id, "bot paused") == 2
    assert await parts.reader.revoke(ref.bot_id, "bot paused") == 0
    ends = [access.lease_end_time for access in await _accesses(parts, ref)]
    assert all(end is not None and end < lease.expire_time for end in ends)


async def test_the_trail_is_read_page_by_page_and_by_filter(parts: Parts, ref: SecretRef) -> None:
    """Pages must neither repeat nor skip a reading."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    for number in range(5):
        await parts.reader.reveal(ref, 0, f"look {number}", PERSON if number % 2 else CALLER)
    everything = await _accesses(parts, ref)
    first = await parts.trail.list_accesses(AccessFilter(ref.bot_id), before=None, limit=2)
    rest = await parts.trail.list_accesses(AccessFilter(ref.bot_id), before=first[-1].id, limit=9)
    assert [*first, *rest] == everything
    by_person = AccessFilter(ref.bot_id, name=ref.name, actor=PERSON.actor, kind=AccessKind.REVEAL)
    assert len(await parts.trail.list_accesses(by_person, before=None, limit=9)) == 2
    later = AccessFilter(ref.bot_id, start=everything[0].time, end=everything[0].time + MINUTE)
    assert await parts.trail.list_accesses(later, before=None, limit=9) == everything[:1]


async def _accesses(parts: Parts, ref: SecretRef) -> list[Access]:
    return await parts.trail.list_accesses(AccessFilter(ref.bot_id), before=None, limit=50)


async def _leases(parts: Parts, ref: SecretRef) -> int:
    """How many are in force."""
    return await parts.reader.revoke(ref.bot_id, "counted")
