"""C2SP signed notes (c2sp.org/signed-note) with Ed25519, and the two statements that logging makes in them.

    vivesphere.audit/main                            origin, also the name of the key
    1042                                             sequence of the last event
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=     its hash
    time 2026-11-25T23:46:09.000000+00:00            extension line

    — vivesphere.audit/main Az3grl…                  base64(4 bytes of key id || signature over the text above)

The text is that of a c2sp.org/tlog-checkpoint, so that witnesses can sign it too; its "root hash" is the last hash of a chain instead of a
Merkle root. A tombstone has one more line, which no checkpoint has: nobody can pass off a checkpoint as leave to remove what is before it.
Reading is strict: one spelling of everything, bounded sizes.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_NOTE_BYTES: Final = 16 * 1024
MAX_SIGNATURES: Final = 64
MAX_NAME_CHARS: Final = 256
MAX_SEQUENCE: Final = 2**31 - 1
TOMBSTONE: Final = "tombstone: every event up to this one was removed because its retention was over"
_ED25519: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_HASH_BYTES: Final = 32
_KEY_BYTES: Final = 32
_STATEMENT_LINES: Final = 4
_ORIGIN: Final = "vivesphere.audit/"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_TIME: Final = "time "
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


class BadNote(ValueError):
    """A text that is no signed note, or none of ours; the message says why and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A signed note that was read, not yet verified. `text` ends with a newline."""

    text: str
    signatures: tuple[Signature, ...]

    def signed_by(self, keys: "Iterable[VerifierKey]") -> bool:
        """Whether one of the keys signed it. False also if the signature line of any of them is wrong."""
        known = {(key.name, key.id): key for key in keys}
        verdicts = [
            known[line.name, line.key_id].accepts(self.text, line.signature)
            for line in self.signatures
            if (line.name, line.key_id) in known
        ]
        return bool(verdicts) and all(verdicts)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key with its name: `<name>+<key id>+<base64 of type and key>` as text."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes by which signature lines name it."""
        named = self.name.encode() + b"\n" + _ED25519 + self.public
        return hashlib.sha256(named).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_base64(_ED25519 + self.public)}"

    def accepts(self, text: str, signature: bytes) -> bool:
        """Whether this key made the signature over the text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Statement:
    """What a note says: the chain's event number `sequence` has this hash; `removed`: and it was removed with all before it."""

    chain: str
    sequence: int
    hash: bytes
    time: datetime
    removed: bool = False

    def text(self) -> str:
        """What is signed."""
        stamp = self.time.astimezone(UTC).isoformat(timespec="microseconds")
        lines = [origin(self.chain), str(self.sequence), _base64(self.hash), _TIME + stamp]
        return "\n".join([*lines, TOMBSTONE] if self.removed else lines) + "\n"


def origin(chain: str) -> str:
    """First line of a chain's notes and name of its key."""
    return _ORIGIN + chain


def compose(text: str, key: VerifierKey, signature: bytes) -> str:
    """The signed note of a text."""
    return f"{text}\n— {key.name} {_base64(key.id + signature)}\n"


def read_note(note: str) -> Note:
    """A signed note out of its text. Raises BadNote."""
    if len(note.encode(errors="replace")) > MAX_NOTE_BYTES:
        raise BadNote("it is too large")
    if _CONTROL.search(note):
        raise BadNote("it has control characters")
    text, gap, lines = note.rpartition("\n\n")
    if not gap or not lines.endswith("\n"):
        raise BadNote("it has no signature lines behind a blank line")
    signatures = tuple(_signature(line) for line in lines[:-1].split("\n"))
    if len(signatures) > MAX_SIGNATURES:
        raise BadNote("it has too many signatures")
    return Note(text + "\n", signatures)


def read_statement(note: Note) -> Statement:
    """What a note says. Raises BadNote unless it is of a form that `Statement.text` writes."""
    lines = note.text.split("\n")[:-1]
    if len(lines) < _STATEMENT_LINES or not lines[0].startswith(_ORIGIN) or not _NUMBER.fullmatch(lines[1]):
        raise BadNote("its text is no statement about an audit chain")
    try:
        time = datetime.fromisoformat(lines[3].removeprefix(_TIME))
    except ValueError:
        raise BadNote("its time cannot be read") from None
    statement = Statement(
        chain=lines[0].removeprefix(_ORIGIN),
        sequence=int(lines[1]),
        hash=_bytes(lines[2]),
        time=time.replace(tzinfo=UTC),
        removed=len(lines) > _STATEMENT_LINES,
    )
    # One spelling: what is written again must be what was read.
    right = len(statement.hash) == _HASH_BYTES and statement.sequence <= MAX_SEQUENCE
    if not right or statement.text() != note.text:
        raise BadNote("its text is no statement about an audit chain")
    return statement


def read_key(text: str) -> VerifierKey:
    """A verifier key out of its text. Raises BadNote."""
    parts = text.split("+", 2)
    if len(parts) == len(("name", "id", "key")) and _is_name(parts[0]):
        raw = _bytes(parts[2])
        key = VerifierKey(parts[0], raw[1:])
        if raw[:1] == _ED25519 and len(key.public) == _KEY_BYTES and str(key) == text:
            return key
    raise BadNote("it is no Ed25519 verifier key of the form name+id+key")


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != len(("dash", "name", "signature")) or parts[0] != "—" or not _is_name(parts[1]):
        raise BadNote("a signature line cannot be read")
    raw = _bytes(parts[2])
    if len(raw) <= _KEY_ID_BYTES:
        raise BadNote("a signature is too short")
    return Signature(parts[1], raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME_CHARS and "+" not in name and not any(char.isspace() for char in name)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise BadNote("something in it is no base64") from None
    if _base64(raw) != text:
        raise BadNote("its base64 has another spelling than the one")
    return raw
