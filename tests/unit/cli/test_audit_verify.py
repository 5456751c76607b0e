"""An export proves itself with nothing but the file; whatever is done to the file is noticed, and the right event is named."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.audit_file import event_line, event_of, header, written
from cli.audit_verify import BadFile, Verdict, verify
from cli.main import app
from services.logging.domain.chain import ChainedEvent, link
from services.logging.domain.notes import Statement, VerifierKey, compose, origin
from tests.unit.services.logging.chains import BEGINNING, chain, salt

SECRET = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
KEY = VerifierKey(origin("main"), SECRET.public_key().public_bytes_raw())
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)
LENGTH, REMOVED = 8, 2
WHOLE = chain(LENGTH, plain=1)
EVENTS = WHOLE[REMOVED:]
FIRST_EVENT_LINE = 2


def note(of: ChainedEvent, *, removed: bool = False, by: Ed25519PrivateKey = SECRET) -> str:
    """A signed statement about an event."""
    text = Statement("main", of.sequence, of.hash, BEGINNING, removed).text()
    return compose(text, KEY, by.sign(text.encode()))


def export(
    events: Sequence[ChainedEvent], tombstone: ChainedEvent | None, checkpoints: Sequence[str]
) -> list[bytes]:
    """The lines that an export of this would have."""
    first = [written({"kind": "tombstone", "note": note(tombstone, removed=True)})] if tombstone else []
    counts = {"events": len(events), "tombstones": len(first), "checkpoints": len(checkpoints)}
    lines = [
        header("main", [str(KEY)]),
        *first,
        *(event_line(item) for item in events),
        *(written({"kind": "checkpoint", "note": text}) for text in checkpoints),
        written({"kind": "end", **counts}),
    ]
    return [line.encode() for line in lines]


LINES = export(EVENTS, WHOLE[REMOVED - 1], [note(WHOLE[-1]), note(WHOLE[4])])
BYTES = b"".join(LINES)
ENDS = [sum(map(len, LINES[: number + 1])) for number in range(len(LINES))]
Prove = Callable[..., Verdict]


@pytest.fixture(scope="module")
def prove(tmp_path_factory: pytest.TempPathFactory) -> Prove:
    """Writes bytes into a file and verifies it."""
    path = tmp_path_factory.mktemp("export") / "trail.ndjson"

    def proved(content: bytes, **options: Sequence[str]) -> Verdict:
        path.write_bytes(content)
        return verify(path, **options)

    return proved


def line_of(offset: int) -> int:
    """The line, from 0, in which a byte lies."""
    return next(number for number, end in enumerate(ENDS) if offset < end)


def is_event(line: int) -> bool:
    return FIRST_EVENT_LINE <= line < FIRST_EVENT_LINE + len(EVENTS)


def kind_and_place(verdict: Verdict) -> tuple[str, int]:
    assert verdict.defect is not None
    return verdict.defect.kind.name, verdict.defect.sequence


def test_an_export_that_nobody_touched_is_sound(prove: Prove) -> None:
    """With the key that the file names and with the one that was noted down."""
    for keys in ([], [str(KEY)]):
        verdict = prove(BYTES, keys=keys, notes=[note(WHOLE[5])])
        assert verdict.defect is None
        assert (verdict.events, verdict.first, verdict.last) == (6, 3, 8)
        assert (verdict.checkpoints, verdict.tombstones, verdict.last_hash) == (2, 1, WHOLE[-1].hash)


@given(st.integers(0, len(BYTES) - 1), st.integers(0, 7))
def test_no_bit_of_an_export_can_be_changed(prove: Prove, offset: int, bit: int) -> None:
    """And if it is one of an event, that event is named."""
    raw = bytearray(BYTES)
    raw[offset] ^= 1 << bit
    line = line_of(offset)
    try:
        verdict = prove(bytes(raw))
    except BadFile:
        assert line == 0
        return
    assert verdict.defect is not None
    if is_event(line):
        assert verdict.defect.sequence == EVENTS[line - FIRST_EVENT_LINE].sequence


@given(st.integers(1, len(LINES) - 1))
def test_no_line_of_an_export_can_be_removed(prove: Prove, line: int) -> None:
    """Neither an event nor what proves it."""
    verdict = prove(b"".join([*LINES[:line], *LINES[line + 1 :]]))
    assert verdict.defect is not None
    if is_event(line):
        assert verdict.defect.sequence == EVENTS[line - FIRST_EVENT_LINE].sequence
        assert verdict.defect.kind.name in ("REMOVED", "TRUNCATED")


@given(st.integers(1, len(LINES) - 1), st.integers(1, len(LINES) - 1))
def test_no_line_can_stand_twice(prove: Prove, copied: int, behind: int) -> None:
    """Wherever the copy stands."""
    verdict = prove(b"".join([*LINES[: behind + 1], LINES[copied], *LINES[behind + 1 :]]))
    assert verdict.defect is not None
    if is_event(copied) and is_event(behind):
        assert kind_and_place(verdict) == ("INSERTED", EVENTS[copied - FIRST_EVENT_LINE].sequence)


@given(st.integers(0, len(EVENTS) - 1), st.integers(0, len(EVENTS) - 1))
def test_no_two_events_can_change_places(prove: Prove, one: int, other: int) -> None:
    """The earlier of the two places is named."""
    if one == other:
        return
    lines = list(LINES)
    lines[one + FIRST_EVENT_LINE], lines[other + FIRST_EVENT_LINE] = (
        lines[other + FIRST_EVENT_LINE],
        lines[one + FIRST_EVENT_LINE],
    )
    assert kind_and_place(prove(b"".join(lines))) == ("REORDERED", EVENTS[min(one, other)].sequence)


@given(st.integers(1, len(BYTES) - 1))
def test_an_export_cannot_be_cut_off(prove: Prove, length: int) -> None:
    """At whatever byte."""
    try:
        assert prove(BYTES[:length]).defect is not None
    except BadFile:
        assert line_of(length) == 0


def recomputed(place: int) -> list[ChainedEvent]:
    """The chain with another actor in one event and everything behind it computed anew."""
    events, last = list(WHOLE), WHOLE[place - 2].hash
    for number in range(place, LENGTH + 1):
        content = WHOLE[number - 1].event
        content = replace(content, actor="forged") if number == place else content
        events[number - 1] = link(number, content, last, salt(number))
        last = events[number - 1].hash
    return events


def test_a_chain_that_was_computed_anew_is_given_away_by_a_checkpoint(prove: Prove) -> None:
    """By one in the file, or, if the forger left those out, by one that was kept elsewhere; forged ones do not help him."""
    forged = recomputed(6)
    tombstone = WHOLE[REMOVED - 1]
    honest = [note(WHOLE[-1])]
    assert kind_and_place(prove(b"".join(export(forged[REMOVED:], tombstone, honest)))) == ("FORKED", 8)
    bare = b"".join(export(forged[REMOVED:], tombstone, []))
    assert prove(bare).defect is None
    assert kind_and_place(prove(bare, notes=honest)) == ("FORKED", 8)
    own = [note(forged[-1], by=STRANGER)]
    assert kind_and_place(prove(b"".join(export(forged[REMOVED:], tombstone, own)))) == ("BAD_SIGNATURE", 8)


def test_a_chain_without_its_end_is_given_away_by_a_checkpoint(prove: Prove) -> None:
    """However well the file was put together."""
    short = b"".join(export(EVENTS[:-2], WHOLE[REMOVED - 1], []))
    assert prove(short).defect is None
    assert kind_and_place(prove(short, notes=[note(WHOLE[-1])])) == ("TRUNCATED", 7)


def test_a_beginning_without_a_tombstone_is_missing(prove: Prove) -> None:
    """And a checkpoint is no tombstone."""
    assert kind_and_place(prove(b"".join(export(EVENTS, None, [])))) == ("TRUNCATED", 1)
    lines = export(EVENTS, WHOLE[REMOVED - 1], [])
    lines[1] = written({"kind": "tombstone", "note": note(WHOLE[REMOVED - 1])}).encode()
    assert kind_and_place(prove(b"".join(lines)))[0] == "BAD_SIGNATURE"


def test_a_file_of_a_forger_with_a_key_of_his_own_fails_against_the_noted_one(prove: Prove) -> None:
    """That is why one notes it down."""
    own = VerifierKey(origin("main"), STRANGER.public_key().public_bytes_raw())
    text = Statement("main", 8, WHOLE[-1].hash, BEGINNING).text()
    lines = export(WHOLE, None, [compose(text, own, STRANGER.sign(text.encode()))])
    lines[0] = header("main", [str(own)]).encode()
    assert prove(b"".join(lines)).defect is None
    assert kind_and_place(prove(b"".join(lines), keys=[str(KEY)])) == ("BAD_SIGNATURE", 8)


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b'{"kind":"event"}\n', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_export_is_refused(prove: Prove, content: bytes) -> None:
    """With a sentence, not with a trace."""
    with pytest.raises(BadFile, match="no audit export"):
        prove(content)


def test_events_come_out_of_the_rest_api_as_they_were_hashed() -> None:
    """It leaves out what is empty and writes numbers and times in other ways."""
    original = WHOLE[6]
    message = {
        "sequence": 7,
        "chain": "main",
        "format": 2,
        "time": "2026-11-25T12:00:07Z",
        "id": original.event.id,
        "service": "bot_manager",
        "actor": "actor-7",
        "action": original.event.action,
        "resource": "bots/7",
        "outcome": "OK",
        "requestId": "request-7",
        "peer": "127.0.0.1",
        "peerIdentity": "spiffe://vivesphere/gateway",
        "userAgent": "curl/8 (é)",
        "request": {"number": 7.0, "share": 1.0, "names": ["ä", None, True]},
        "hash": original.hash.hex(),
        "previousHash": original.previous_hash.hex(),
        "commitment": original.commitment.hex(),
        "salt": original.salt.hex(),
    }
    assert event_of(json.loads(json.dumps(message))) == original


def test_the_command_says_in_a_sentence_what_is_wrong(tmp_path: Path) -> None:
    """Exit code 0 for a sound trail, 1 for a broken one."""
    path, kept = tmp_path / "trail.ndjson", tmp_path / "kept.txt"
    path.write_bytes(BYTES)
    kept.write_text(note(WHOLE[5]))
    run = CliRunner()
    sound = run.invoke(app, ["audit", "verify", str(path), "--key", str(KEY), "--checkpoint", str(kept)])
    assert sound.exit_code == 0, sound.output
    assert "sound: 6 events of the chain main are in place and unaltered (numbers 3 to 8)" in sound.output
    path.write_bytes(BYTES.replace(b"actor-5", b"actor-6"))
    broken = run.invoke(app, ["audit", "verify", str(path)])
    assert broken.exit_code == 1
    assert "BROKEN (ALTERED): Event 5 was altered: actor, request, peer or user agent" in broken.output
    assert str(KEY) in broken.output
    as_json = run.invoke(app, ["audit", "verify", str(path), "--key", str(KEY), "--json"])
    assert json.loads(as_json.output)["defect"]["sequence"] == 5
