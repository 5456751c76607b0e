"""Earlier values come back as a new version, and nothing else goes back with them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import Aborted, MeshError
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import Caller, SecretMetadata, SecretRef, State
from services.secure_bot_data.store.trail import AccessFilter
from tests.integration.services.secure_bot_data.conftest import CALLER, MINUTE, Parts, oauth1
from tests.integration.services.secure_bot_data.root import Root

PERSON = Caller("0190c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b", "192.0.2.7", "request-2")
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


async def test_earlier_values_become_a_new_version(parts: Parts, ref: SecretRef) -> None:
    """A bad replacement is undone without anybody knowing the old values."""
    await parts.writer.put(ref, oauth1("one"), None, CALLER)
    await parts.writer.put(ref, oauth1("two"), None, CALLER)
    metadata = await parts.rollback.roll_back(ref, 1, 2, PERSON)
    assert (metadata.version, metadata.state, metadata.updated_by) == (3, State.ACTIVE, PERSON.actor)
    opened, _ = await parts.reader.lease(ref, 0, MINUTE, "publish", CALLER)
    assert (opened.version, opened.fields) == (3, oauth1("one").fields)
    listed = await parts.catalogue.list_versions(ref, before=None, limit=9)
    assert [(record.version, record.rolled_back_from) for record in listed] == [(3, 1), (2, 0), (1, 0)]


async def test_what_belongs_to_the_values_comes_back_and_what_belongs_to_the_secret_stays(
    parts: Parts, ref: SecretRef
) -> None:
    """Undoing values must not undo who looks after the secret and when it is due; their own end comes along."""
    first = replace(oauth1("one"), expire_time=SOON, rotate_time=SOON, owner="ana")
    second = replace(oauth1("two"), rotate_time=SOON + MINUTE, owner="bea")
    await parts.writer.put(ref, first, None, CALLER)
    await parts.writer.put(ref, second, None, CALLER)
    metadata = await parts.rollback.roll_back(ref, 1, None, PERSON)
    assert (metadata.expire_time, metadata.rotate_time, metadata.owner) == (SOON, SOON + MINUTE, "bea")
    assert metadata == await parts.catalogue.find(ref)


async def test_a_version_that_gives_no_values_is_refused_precisely(parts: Parts, ref: SecretRef) -> None:
    """Nobody should have to guess which version can come back."""
    soon = datetime.now(UTC) + timedelta(seconds=1)
    await parts.writer.put(ref, replace(oauth1("short"), expire_time=soon), None, CALLER)
    for mark in ("two", "three", "four"):
        await parts.writer.put(ref, oauth1(mark), None, CALLER)
    await parts.changer.change(ref, Event.DELETE, [2])
    await parts.changer.change(ref, Event.DESTROY, [3])
    await asyncio.sleep((soon - datetime.now(UTC)).total_seconds() + 0.05)
    reasons = [await _refused(parts, ref, version) for version in (1, 2, 3, 9)]
    assert reasons == ["SECRET_EXPIRED", "SECRET_DELETED", "SECRET_DESTROYED", "SECRET_NOT_FOUND"]
    assert (await parts.catalogue.get(ref)).version == 4


async def test_a_deleted_current_version_does_not_stand_in_the_way(parts: Parts, ref: SecretRef) -> None:
    """Deleting the bad version first is what a careful person does."""
    await parts.writer.put(ref, oauth1("one"), None, CALLER)
    await parts.writer.put(ref, oauth1("two"), None, CALLER)
    await parts.changer.change(ref, Event.DELETE, [2])
    assert (await parts.rollback.roll_back(ref, 1, 2, PERSON)).version == 3


async def test_of_rollbacks_with_the_same_expectation_one_wins_and_without_all_do(
    open_parts: Callable[[], Parts], ref: SecretRef
) -> None:
    """A rollback is a write like any other; it never replaces what its caller has not seen."""
    replicas = [open_parts(), open_parts()]
    await replicas[0].writer.put(ref, oauth1("one"), None, CALLER)
    await replicas[0].writer.put(ref, oauth1("two"), None, CALLER)
    outcomes = await _race(replicas, ref, 2)
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [Aborted] * 5
    with pytest.raises(Aborted) as caught:
        await replicas[1].rollback.roll_back(ref, 1, 2, PERSON)
    assert caught.value.reason == "VERSION_MISMATCH"
    outcomes = await _race(replicas, ref, None)
    assert sorted(o.version for o in outcomes if isinstance(o, SecretMetadata)) == [4, 5, 6, 7, 8, 9]


async def test_values_that_were_moved_do_not_come_back(parts: Parts, ref: SecretRef, root: Root) -> None:
    """A rollback authenticates what it reads: it must not launder a ciphertext that somebody put in."""
    await parts.writer.put(ref, oauth1("one"), None, CALLER)
    stored = (await root.kv("GET", ref.bot_id, ref.name))["data"]["data"]
    await root.kv("POST", ref.bot_id, ref.name, {"data": stored, "options": {"cas": 1}})
    assert await _refused(parts, ref, 2) == "INTERNAL"


async def test_a_rollback_reads_nothing_out(parts: Parts, ref: SecretRef) -> None:
    """The access trail tells who got to see values, and nobody did."""
    await parts.writer.put(ref, oauth1("one"), None, CALLER)
    await parts.writer.put(ref, oauth1("two"), None, CALLER)
    await parts.rollback.roll_back(ref, 1, None, PERSON)
    assert await parts.trail.list_accesses(AccessFilter(ref.bot_id), before=None, limit=9) == []


async def _race(
    replicas: list[Parts], ref: SecretRef, expected: int | None
) -> list[SecretMetadata | BaseException]:
    return await asyncio.gather(
        *(replicas[i % 2].rollback.roll_back(ref, 1, expected, PERSON) for i in range(6)),
        return_exceptions=True,
    )


async def _refused(parts: Parts, ref: SecretRef, version: int) -> str:
    with pytest.raises(MeshError) as caught:
        await parts.rollback.roll_back(ref, version, None, PERSON)
    return caught.value.reason
