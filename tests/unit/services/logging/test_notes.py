"""Signed notes as c2sp.org/signed-note has them, read strictly."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.logging.domain.notes import (
    BadNote,
    Statement,
    VerifierKey,
    compose,
    origin,
    read_key,
    read_note,
    read_statement,
)

# From the documentation of golang.org/x/mod/sumdb/note, which the format comes from.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
SECRET = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
KEY = VerifierKey(origin("main"), SECRET.public_key().public_bytes_raw())
STATEMENT = Statement("main", 1042, b"\x09" * 32, datetime(2026, 11, 25, 23, 46, 9, tzinfo=UTC))
TEXT = STATEMENT.text()
NOTE = compose(TEXT, KEY, SECRET.sign(TEXT.encode()))


def accepted(note: str) -> Statement | None:
    """What a verifier that trusts KEY makes of it."""
    try:
        read = read_note(note)
        return read_statement(read) if read.signed_by([KEY]) else None
    except BadNote:
        return None


def test_notes_of_others_verify() -> None:
    """The format is an agreement with tools that are not ours."""
    note = read_note(GO_NOTE)
    assert note.signed_by([read_key(GO_KEY)])
    assert not note.signed_by([KEY])


def test_a_statement_comes_back() -> None:
    """What is signed is what is read."""
    assert accepted(NOTE) == STATEMENT
    assert read_key(str(KEY)) == KEY


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(0, 7))
def test_no_bit_of_a_note_can_be_changed(place: int, bit: int) -> None:
    """Neither of what it says nor of its signature; there is one spelling of each."""
    raw = bytearray(NOTE.encode())
    raw[place] ^= 1 << bit
    try:
        changed = raw.decode()
    except UnicodeDecodeError:
        return
    assert accepted(changed) is None


@given(st.integers(0, len(str(KEY)) - 1), st.characters(min_codepoint=33, max_codepoint=126))
def test_no_character_of_a_verifier_key_can_be_changed(place: int, character: str) -> None:
    """It is copied by hand and by mail; a slip must not make another key of it."""
    text = str(KEY)
    if text[place] == character:
        return
    with pytest.raises(BadNote):
        read_key(text[:place] + character + text[place + 1 :])


def test_a_checkpoint_is_no_leave_to_remove() -> None:
    """A tombstone says so in the text that is signed."""
    tombstone = replace(STATEMENT, removed=True)
    note = compose(tombstone.text(), KEY, SECRET.sign(tombstone.text().encode()))
    assert accepted(note) == tombstone
    swapped = compose(tombstone.text(), KEY, SECRET.sign(TEXT.encode()))
    assert accepted(swapped) is None


def test_signatures_of_strangers_are_ignored_and_wrong_ones_are_not() -> None:
    """Witnesses may sign too; whoever claims to be the key and is not spoils the note."""
    stranger = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)
    name = VerifierKey("witness.example/w1", stranger.public_key().public_bytes_raw())
    line = compose(TEXT, name, stranger.sign(TEXT.encode())).rpartition("\n\n")[2]
    assert accepted(NOTE + line) == STATEMENT
    wrong = compose(TEXT, KEY, stranger.sign(TEXT.encode())).rpartition("\n\n")[2]
    assert accepted(NOTE + wrong) is None
    assert accepted(f"{TEXT}\n{line}") is None


@pytest.mark.parametrize(
    "note",
    ["", "\n", "text\n", NOTE + "\n", NOTE[:-1], NOTE.replace("—", "-"), NOTE + "x" * 20_000, NOTE + "\0",
     NOTE.replace("1042", "01042"), NOTE.replace("\n", "\r\n"), f"{TEXT}\n" + "— a b\n" * 200],
)  # fmt: skip
def test_what_is_no_note_is_refused(note: str) -> None:
    """Strict and bounded: it comes from strangers."""
    assert accepted(note) is None
