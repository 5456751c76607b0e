"""The owner of the database does what he likes to the trail, and each time it is told what he did and where."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from mesh.errors import InvalidArgument, NotFound, OutOfRange
from services.logging.domain.chain import ChainedEvent, link
from services.logging.domain.notes import Statement
from tests.integration.services.logging.trail import Trail

LENGTH = 9
OFF = "ALTER TABLE audit_events DROP CONSTRAINT audit_events_pkey"
ON = "ALTER TABLE audit_events ADD CONSTRAINT audit_events_pkey PRIMARY KEY (chain, sequence)"
MOVE_UP = (
    "UPDATE audit_events SET sequence = sequence + 1000000 WHERE chain = %(chain)s AND sequence >= %(at)s",
    "UPDATE audit_events SET sequence = sequence - 999999 WHERE chain = %(chain)s AND sequence >= 1000000",
)
MOVE_DOWN = (
    "DELETE FROM audit_events WHERE chain = %(chain)s AND sequence = %(at)s",
    "UPDATE audit_events SET sequence = sequence + 1000000 WHERE chain = %(chain)s AND sequence > %(at)s",
    "UPDATE audit_events SET sequence = sequence - 1000001 WHERE chain = %(chain)s AND sequence >= 1000000",
)
CONTENT = (
    "time, service, actor, action, resource, outcome, reason, bot_id, request_id, trace_id, peer, peer_identity, user_agent,"
    " session_id, request, hash, previous_hash, format, commitment, salt, erased"
)
COPY = (
    f"INSERT INTO audit_events (chain, sequence, id, {CONTENT}) SELECT chain, {{sequence}}, gen_random_uuid(), {CONTENT}"  # noqa: S608 - ours
    " FROM audit_events WHERE chain = %(chain)s AND sequence = {of}"
)


async def refused(trail: Trail, statement: str, why: str) -> None:
    """The service's own role may not do it."""
    with pytest.raises(Exception, match=why):
        async with trail.database.transaction() as connection:
            await connection.execute(text(statement))


def rewritten(events: list[ChainedEvent], place: int) -> list[ChainedEvent]:
    """The chain from `place` on with another actor there and every hash computed as it should be."""
    changed: list[ChainedEvent] = []
    last = events[place - 1].previous_hash
    for item in events[place - 1 :]:
        content = replace(item.event, actor="forged") if item.sequence == place else item.event
        changed.append(link(item.sequence, content, last, item.salt, item.chain))
        last = changed[-1].hash
    return changed


@pytest.mark.parametrize(
    ("statements", "kind", "sequence"),
    [
        (["UPDATE audit_events SET outcome = 'OK ' WHERE chain = %(chain)s AND sequence = 4"], "ALTERED", 4),
        (["UPDATE audit_events SET actor = 'x' WHERE chain = %(chain)s AND sequence = 4"], "ALTERED", 4),
        (["UPDATE audit_events SET request = '{}' WHERE chain = %(chain)s AND sequence = 4"], "ALTERED", 4),
        (["UPDATE audit_events SET erased = true WHERE chain = %(chain)s AND sequence = 4"], "ALTERED", 4),
        (
            [
                "UPDATE audit_events SET time = time + interval '1 ms' WHERE chain = %(chain)s AND sequence = 9"
            ],
            "ALTERED",
            9,
        ),
        (["DELETE FROM audit_events WHERE chain = %(chain)s AND sequence = 4"], "REMOVED", 4),
        (["DELETE FROM audit_events WHERE chain = %(chain)s AND sequence IN (4, 5, 7)"], "REMOVED", 4),
        (MOVE_DOWN, "REMOVED", 4),
        (["DELETE FROM audit_events WHERE chain = %(chain)s AND sequence < 3"], "TRUNCATED", 1),
        (["DELETE FROM audit_events WHERE chain = %(chain)s AND sequence > 7"], "TRUNCATED", 8),
        (["DELETE FROM audit_events WHERE chain = %(chain)s"], "TRUNCATED", 1),
        ([*MOVE_UP, COPY.format(sequence=4, of=2)], "INSERTED", 4),
        (
            [
                OFF,
                "UPDATE audit_events SET sequence = 13 - sequence WHERE chain = %(chain)s AND sequence IN (5, 8)",
                ON,
            ],
            "REORDERED",
            5,
        ),
    ],
)
async def test_what_the_owner_does_to_the_table_is_named(
    trail: Trail, statements: list[str], kind: str, sequence: int
) -> None:
    """Altered, removed, inserted, moved, cut off at either end: each by its own name, at the first place."""
    await trail.append(LENGTH)
    await trail.checkpoint()
    assert await trail.found() is None
    trail.tamper(*statements, at=4)
    assert await trail.found() == (kind, sequence)


async def test_an_inserted_event_with_a_right_hash_is_found(trail: Trail) -> None:
    """It links to what is before it; what is behind it links past it."""
    await trail.append(LENGTH)
    events = await trail.read()
    trail.tamper(*MOVE_UP, COPY.format(sequence=4, of=3), at=4)
    [copied] = [item for item in await trail.read() if item.sequence == 4]
    strange = link(4, copied.event, events[2].hash, copied.salt, trail.chain)
    trail.rewrite([strange])
    defect = (await trail.proof()).defect
    assert defect is not None
    assert (defect.kind.name, defect.sequence, defect.event_id) == ("INSERTED", 4, strange.event.id)


async def test_a_rewritten_event_is_found_by_the_next_one(trail: Trail) -> None:
    """Its own hash fits; that the next event remembers another one, it could not help."""
    await trail.append(LENGTH)
    trail.rewrite(rewritten(await trail.read(), 4)[:1])
    assert await trail.found() == ("ALTERED", 4)
    assert await trail.found(first=1, last=4) == ("ALTERED", 4)


async def test_a_chain_that_was_rewritten_to_its_end_is_given_away_by_checkpoints(trail: Trail) -> None:
    """Every hash was computed anew, and the checkpoints in the database were removed: those outside of it remain."""
    await trail.append(LENGTH)
    await trail.checkpoint()
    kept = await trail.statements.newest(trail.chain)
    assert kept is not None
    trail.rewrite(rewritten(await trail.read(), 4))
    assert await trail.found() == ("FORKED", LENGTH)
    trail.tamper("DELETE FROM audit_checkpoints WHERE chain = %(chain)s")
    assert await trail.found() == ("FORKED", LENGTH)
    assert await trail.found(note=kept.note) == ("FORKED", LENGTH)
    await trail.append(3)
    assert await trail.found() == ("FORKED", LENGTH)
    assert await trail.found(first=5, last=8) is None


async def test_a_kept_checkpoint_beyond_the_end_shows_the_cut_whatever_is_asked_for(trail: Trail) -> None:
    """Even if only what lies behind the end is asked for."""
    await trail.append(LENGTH)
    await trail.checkpoint()
    kept = await trail.statements.newest(trail.chain)
    assert kept is not None
    trail.tamper("DELETE FROM audit_events WHERE chain = %(chain)s AND sequence > 5")
    assert await trail.found(note=kept.note, first=LENGTH) == ("TRUNCATED", 6)
    assert await trail.found(first=6, last=8) == ("TRUNCATED", 6)
    assert await trail.found(first=1, last=5) is None


async def test_forged_checkpoints_prove_nothing(trail: Trail) -> None:
    """Whoever writes into the table cannot sign."""
    await trail.append(LENGTH)
    await trail.checkpoint()
    kept = await trail.statements.newest(trail.chain)
    assert kept is not None
    forged = kept.note.replace(f"\n{LENGTH}\n", "\n5\n")
    trail.tamper("UPDATE audit_checkpoints SET note = %(note)s WHERE chain = %(chain)s", note=forged)
    assert await trail.found() == ("BAD_SIGNATURE", 5)
    assert await trail.found(note=forged) == ("BAD_SIGNATURE", 5)
    with pytest.raises(InvalidArgument):
        await trail.proof(note="not a note")


async def test_a_checkpoint_does_not_excuse_a_removal(trail: Trail) -> None:
    """The owner removes the beginning and puts the note of a genuine checkpoint where a tombstone should be."""
    await trail.append(4)
    await trail.checkpoint()
    kept = await trail.statements.newest(trail.chain)
    assert kept is not None
    await trail.append(4)
    trail.tamper(
        "INSERT INTO audit_tombstones SELECT chain, sequence, hash, time, note, verifier_key FROM audit_checkpoints"
        " WHERE chain = %(chain)s",
        "DELETE FROM audit_events WHERE chain = %(chain)s AND sequence <= 4",
    )
    assert await trail.found() == ("BAD_SIGNATURE", 4)


async def test_a_broken_chain_gets_no_checkpoint(trail: Trail) -> None:
    """Otherwise the service would vouch for what was done to it."""
    await trail.append(LENGTH)
    await trail.checkpoint()
    await trail.append(3)
    trail.tamper("UPDATE audit_events SET actor = 'x' WHERE chain = %(chain)s AND sequence = 11")
    await trail.checkpointer.look()
    with pytest.raises(Exception, match="Event 11 was altered"):
        await trail.checkpointer.check()
    trail.tamper("DELETE FROM audit_events WHERE chain = %(chain)s AND sequence > 5")
    await trail.checkpointer.look()
    newest = await trail.statements.newest(trail.chain)
    assert newest is not None
    assert newest.statement.sequence == LENGTH


async def test_ranges_and_what_lies_outside_of_them(trail: Trail) -> None:
    """A part can be proved, and a defect elsewhere is none of it."""
    await trail.append(LENGTH)
    trail.tamper("UPDATE audit_events SET actor = 'x' WHERE chain = %(chain)s AND sequence = 5")
    proof = await trail.proof(first=2, last=4)
    assert (proof.checked, proof.first, proof.last, proof.defect) == (3, 2, 4, None)
    assert proof.last_hash == (await trail.read())[3].hash
    assert await trail.found(first=5) == ("ALTERED", 5)
    assert await trail.found(first=6) is None
    for wrong in ({"first": LENGTH + 1}, {"last": LENGTH + 1}):
        with pytest.raises(OutOfRange):
            await trail.proof(**wrong)
    trail.chain = "nowhere"
    with pytest.raises(NotFound):
        await trail.proof()


async def test_a_long_chain_is_proved_page_by_page(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a defect behind the first pages is found as well."""
    monkeypatch.setattr("services.logging.auditing.proving.PAGE", 4)
    await trail.append(12)
    await trail.checkpoint()
    await trail.append(9)
    await trail.checkpoint()
    proof = await trail.proof()
    assert (proof.checked, proof.last, proof.defect) == (21, 21, None)
    trail.tamper("DELETE FROM audit_events WHERE chain = %(chain)s AND sequence = 18")
    assert await trail.found() == ("REMOVED", 18)


@pytest.mark.parametrize("table", ["audit_events", "audit_checkpoints", "audit_tombstones"])
async def test_the_service_itself_can_neither_change_nor_remove(trail: Trail, table: str) -> None:
    """Append-only is a grant, not a habit."""
    for statement in (f"UPDATE {table} SET chain = 'x'", f"DELETE FROM {table}", f"TRUNCATE {table}"):  # noqa: S608 - ours
        await refused(trail, statement, "permission denied")


async def test_the_two_removals_are_no_others(trail: Trail) -> None:
    """The functions that the owner leaves the service refuse everything else."""
    await trail.append(2)
    await refused(
        trail, "INSERT INTO audit_tombstones VALUES ('x', 1, '', now(), '', '')", "permission denied"
    )
    young = await trail.signer.sign(
        Statement(trail.chain, 1, (await trail.read())[0].hash, trail.clock.now(), True)
    )
    with pytest.raises(Exception, match="last 30 days"):
        async with trail.database.transaction() as connection:
            await trail.statements.remove(connection, young)
    with pytest.raises(Exception, match="only what users did"):
        async with trail.database.transaction() as connection:
            await trail.statements.erase(connection, "spiffe://vivesphere/logging", 10)
    assert len(await trail.read()) == 2
