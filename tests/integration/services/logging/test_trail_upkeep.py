"""Persons are erased and old events removed, and the chain still proves all that is left; checkpoints wait out every outage."""

import asyncio
import json
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from cli.embedded import EmbeddedMesh
from mesh.errors import FailedPrecondition, MeshError, Unavailable
from mesh.ids import new_id
from mesh.messaging import Messaging
from mesh.messaging.client import close_client, open_client, tls_context
from mesh.tasks import TaskSet
from services.logging.domain.notes import Statement
from services.logging.domain.records import Record
from services.logging.store.tables import records
from tests.fakes.logging import writer_of
from tests.integration.services.logging.trail import Trail, open_trail
from tests.integration.services.secure_bot_data.root import OwnServer

DAY = timedelta(days=1)
KEY = "vivesphere-transit/keys/audit-chain/rotate"


def record(trail: Trail, actor: str, **attributes: object) -> Record:
    """A log record of a user's."""
    now = trail.clock.now()
    return Record(
        new_id(), now, now, 2, 9, "INFO", "hello", "bot_manager", "i", "1", actor, "", "", "", "", attributes
    )


async def test_a_person_is_erased_and_the_chain_still_proves_the_rest(trail: Trail) -> None:
    """What was done, when and how it ended stays; who did it, with what and from where is gone, salts included."""
    person, other = new_id(), new_id()
    await trail.append(3, actor=other)
    await trail.append(4, actor=person)
    await trail.append(2, actor=other)
    await trail.checkpoint()
    store = writer_of(trail.database)
    mine = [record(trail, person, user=person), record(trail, person, attempt=1)]
    async with trail.database.transaction() as connection:
        await store.add(connection, [*mine, record(trail, other, attempt=2)])
    erased = await trail.eraser.erase(person)
    assert (erased.events, erased.records) == (4, 2)
    again = await trail.eraser.erase(person)
    assert (again.events, again.records) == (0, 0)
    assert await trail.found() is None
    events = await trail.read()
    assert [item.erased for item in events] == [False] * 3 + [True] * 4 + [False] * 2
    assert {
        (item.event.actor, item.event.peer, item.salt, str(item.event.request)) for item in events[3:7]
    } == {("", "", b"", "{}")}
    assert {item.event.action for item in events} == {"/vivesphere.bot_manager.v1.BotService/CreateBot"}
    async with trail.database.read() as connection:
        query = select(records.c.actor, records.c.attributes).where(
            records.c.id.in_([item.id for item in mine])
        )
        left = {(row.actor, str(row.attributes)) for row in await connection.execute(query)}
        everywhere = text(
            "SELECT (SELECT count(*) FROM audit_events AS e WHERE e::text LIKE :person)"
            " + (SELECT count(*) FROM records AS r WHERE r::text LIKE :person)"
        )
        assert (await connection.execute(everywhere, {"person": f"%{person}%"})).scalar_one() == 0
    assert left == {("", "{}"), ("", "{'attempt': 1}")}


async def test_somebody_with_a_long_history_is_erased_completely(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In as many bounded transactions as it takes."""
    monkeypatch.setattr("services.logging.auditing.erasing.MOST", 3)
    monkeypatch.setattr("services.logging.auditing.erasing.STATEMENTS", 2)
    person = new_id()
    await trail.append(17, actor=person)
    assert (await trail.eraser.erase(person)).events == 17
    assert await trail.found() is None


async def test_events_of_the_first_format_are_kept_and_still_verify(trail: Trail) -> None:
    """Their hash covers the actor itself, so erasing it would break the chain: they are left as they are."""
    person = new_id()
    await trail.append_plain(3, actor=person)
    await trail.append(2, actor=person)
    await trail.checkpoint()
    assert (await trail.eraser.erase(person)).events == 2
    assert [item.format for item in await trail.read()] == [1, 1, 1, 2, 2]
    assert await trail.found() is None
    trail.tamper("UPDATE audit_events SET actor = '' WHERE chain = %(chain)s AND sequence = 2")
    assert await trail.found() == ("ALTERED", 2)


async def test_old_events_are_removed_and_a_tombstone_accounts_for_them(trail: Trail) -> None:
    """Once and again: the newest tombstone is where the chain begins now."""
    await trail.append(3, age=90 * DAY)
    await trail.append(4, age=50 * DAY)
    await trail.append(2)
    await trail.checkpoint()
    assert await trail.retention.remove_due() == 0
    trail.days = 60
    assert await trail.retention.remove_due() == 3
    assert await trail.retention.remove_due() == 0
    trail.days = 40
    assert await trail.retention.remove_due() == 4
    proof = await trail.proof()
    assert (proof.defect, proof.first, proof.last, proof.checked) == (None, 8, 9, 2)
    assert [item.statement.sequence for item in proof.tombstones] == [3, 7]
    await trail.append(2)
    await trail.checkpoint()
    assert await trail.found() is None
    trail.tamper("DELETE FROM audit_events WHERE chain = %(chain)s AND sequence = 8")
    assert await trail.found() == ("TRUNCATED", 8)
    trail.tamper("DELETE FROM audit_tombstones WHERE chain = %(chain)s AND last_sequence = 7")
    assert await trail.found() == ("TRUNCATED", 4)


async def test_a_short_retention_never_reaches_the_last_month_nor_the_newest_event(trail: Trail) -> None:
    """Whatever the setting says; the chain must know what it goes on from."""
    trail.days = 1
    await trail.append(3, age=20 * DAY)
    assert await trail.retention.remove_due() == 0
    trail.tamper("UPDATE audit_events SET time = time - interval '90 days' WHERE chain = %(chain)s")
    assert await trail.retention.remove_due() == 2
    assert [item.sequence for item in await trail.read()] == [3]


async def test_checkpoints_come_by_time_and_by_number(trail: Trail) -> None:
    """And none without anything new."""

    async def signed() -> list[int]:
        await trail.checkpointer.look()
        await trail.checkpointer.check()
        found = await trail.statements.checkpoints(trail.chain, None, 10, oldest_first=True)
        return [item.statement.sequence for item in found]

    trail.pace = (60, 5)
    assert await signed() == []
    await trail.append(2)
    assert await signed() == []
    await trail.clock.advance(timedelta(seconds=60))
    assert await signed() == [2]
    await trail.clock.advance(timedelta(days=1))
    assert await signed() == [2]
    await trail.append(5)
    assert await signed() == [2, 7]
    notes = [note async for page in trail.outside.all() for note in page if trail.chain in note]
    assert [note.split("\n")[1] for note in notes] == ["2", "7"]


async def test_the_loop_signs_by_itself_until_it_is_stopped(trail: Trail) -> None:
    """As it runs in the service."""
    await trail.append(2)
    async with asyncio.timeout(20), TaskSet() as tasks:
        tasks.spawn(trail.checkpointer.run(), name="audit checkpoints")
        while await trail.statements.newest(trail.chain) is None:
            await trail.clock.advance(timedelta(seconds=10))
            await asyncio.sleep(0.01)
    assert await trail.found() is None


async def test_two_replicas_sign_each_end_once(trail: Trail, engines: EmbeddedMesh) -> None:
    """Nobody leads; whoever comes second sees what the first one kept."""
    async with open_trail(engines) as other:
        other.chain = trail.chain
        other.__post_init__()
        for _ in range(3):
            await trail.append(2)
            await asyncio.gather(trail.checkpoint(), other.checkpoint())
        await other.checkpoint()
    found = await trail.statements.checkpoints(trail.chain, None, 10)
    assert {item.statement.sequence for item in found} == {2, 4, 6}
    assert await trail.found() is None


async def test_notes_of_earlier_versions_of_the_key_stay_valid(trail: Trail, engines: EmbeddedMesh) -> None:
    """A rotated key signs anew and takes nothing back."""
    await trail.append(2)
    await trail.checkpoint()
    old = await trail.statements.newest(trail.chain)
    await asyncio.to_thread(OwnServer(engines).call, "POST", KEY)
    await trail.append(2)
    await trail.checkpoint()
    new = await trail.statements.newest(trail.chain)
    assert old is not None
    assert new is not None
    assert old.key != new.key
    assert await trail.found(note=old.note) is None
    assert [str(key) for key in await trail.signer.keys(trail.chain)][-2:] == [old.key, new.key]


async def test_checkpoints_wait_for_nats_and_come_when_it_is_back(trail: Trail) -> None:
    """What was signed meanwhile is put outside as soon as that can be done."""
    away = Messaging("logging", trail.engines.nats_url, trail.engines.data.tls_files("logging"))
    there, trail.messaging = trail.messaging, away
    trail.__post_init__()
    await trail.append(2)
    trail.pace = (0, 1)
    await trail.checkpointer.look()
    with pytest.raises(Unavailable, match="NATS"):
        await trail.checkpointer.check()
    with pytest.raises(Unavailable):
        await trail.proof()
    async with TaskSet() as tasks:
        tasks.spawn(away.run(), name="messaging")
        await away.wait_connected()
        await trail.checkpoint()
        assert await trail.found() is None
    trail.messaging = there


async def test_checkpoints_wait_for_a_sealed_vault_and_come_when_it_is_open(
    trail: Trail, engines: EmbeddedMesh
) -> None:
    """Events are chained all the same; health says what is missing."""
    await trail.append(2)
    await trail.checkpoint()
    root = OwnServer(engines)
    await root.seal()
    try:
        await trail.append(2)
        await trail.checkpointer.look()
        with pytest.raises(MeshError, match="seal"):
            await trail.checkpointer.check()
    finally:
        await root.restart()
    async with asyncio.timeout(30):
        while True:
            try:
                await trail.checkpoint()
                break
            except Unavailable:
                await asyncio.sleep(0.2)
    newest = await trail.statements.newest(trail.chain)
    assert newest is not None
    assert newest.statement.sequence == 4


async def test_a_database_that_was_replaced_while_nobody_looked_gets_no_checkpoint(trail: Trail) -> None:
    """A fresh replica asks first what lies outside."""
    await trail.append(5)
    await trail.checkpoint()
    trail.tamper(
        "DELETE FROM audit_events WHERE chain = %(chain)s",
        "DELETE FROM audit_checkpoints WHERE chain = %(chain)s",
    )
    trail.__post_init__()
    await trail.append(7)
    await trail.checkpointer.look()
    with pytest.raises(FailedPrecondition, match="not the one"):
        await trail.checkpointer.check()
    assert await trail.statements.newest(trail.chain) is None


async def test_nobody_deletes_what_lies_outside_of_the_database(trail: Trail, engines: EmbeddedMesh) -> None:
    """Not the service, which may only add and read, and not who administers the streams."""
    await trail.append(1)
    await trail.checkpoint()

    async def ignore(_: Exception) -> None:
        """Refusals are seen by the missing answer."""

    async def nothing() -> None:
        """Nobody is to be told of the end."""

    for name, answers in (("logging", False), ("setup", True)):
        tls = tls_context(engines.data.tls_files(name))
        client = await open_client([engines.nats_url], name, f"_INBOX_{name}", tls, "nats", ignore, nothing)
        try:
            for operation in ("MSG.DELETE", "PURGE"):
                subject = f"$JS.API.STREAM.{operation}.CHECKPOINTS"
                if answers:
                    answer = json.loads((await client.request(subject, b'{"seq": 1}', timeout=5)).data)
                    assert "error" in answer
                else:
                    with pytest.raises(TimeoutError):
                        await client.request(subject, b'{"seq": 1}', timeout=0.3)
        finally:
            await close_client(client)
    assert await trail.outside.newest(trail.chain) is not None


async def test_what_is_signed_verifies_with_the_key_that_is_told(trail: Trail) -> None:
    """People note the verifier key down at set-up and compare."""
    signed = await trail.signer.sign(Statement(trail.chain, 0, bytes(32), trail.clock.now()))
    assert signed.key.startswith(f"vivesphere.audit/{trail.chain}+")
    assert signed.note.startswith(f"vivesphere.audit/{trail.chain}\n0\n")


async def test_a_proof_is_not_led_astray_by_what_happens_meanwhile(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events come, ends are signed, old events go with their tombstones: none of it is a defect, whenever it happens."""
    monkeypatch.setattr("services.logging.auditing.proving.PAGE", 3)
    monkeypatch.setattr("services.logging.auditing.retaining.MOST", 4)
    await trail.append(20, age=90 * DAY)
    await trail.append(5)
    trail.days = 60

    async def upkeep() -> None:
        for _ in range(5):
            await trail.append(3)
            await trail.checkpoint()
            await trail.retention.remove_due()

    working = asyncio.create_task(upkeep())
    found = []
    while not working.done():
        found.append(await trail.found())
    await working
    assert set(found) == {None}
    proof = await trail.proof()
    assert (proof.defect, proof.first, proof.last) == (None, 21, 40)
