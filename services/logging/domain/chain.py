"""The hash chain of audit events: each event's hash covers its canonical bytes and the hash before it.

    hash[n] = SHA-256(0x01 || hash[n-1] || canonical(event[n]))                     hash[0] = 32 zero bytes
    commitment = SHA-256(0x02 || salt || canonical(actor, request, peer, user agent))    salt: 32 random bytes

Canonical bytes are JSON with sorted keys, no white space, UTF-8, times in RFC 3339 with microseconds. Changing, removing, inserting or
reordering events breaks every hash that follows. The bytes in front keep these hashes apart from any other use (RFC 6962 2.1).

In format 1 the canonical bytes hold every field. In format 2 they hold the commitment in place of what tells of a person, so that salt and
fields can be erased and the chain still verifies: without the salt nobody can tell what was committed to, not even by guessing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

CHAIN: Final = "main"
GENESIS: Final = bytes(32)
PLAIN, COMMITTED = 1, 2
"""Formats of the canonical bytes."""
SALT_BYTES: Final = 32
ERASABLE: Final = ("actor", "peer", "request", "user_agent")
_EVENT: Final = b"\x01"
_COMMITMENT: Final = b"\x02"
_EXACT_IN_DOUBLE: Final = 2**53
_TEXTS: Final = (
    "id",
    "service",
    "action",
    "resource",
    "outcome",
    "reason",
    "bot_id",
    "request_id",
    "trace_id",
    "peer_identity",
    "session_id",
)
_quote = json.encoder.encode_basestring
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What was done, by whom, to what, and how it ended. `id` is that of its log record."""

    id: str
    time: datetime
    service: str
    actor: str
    action: str
    resource: str
    outcome: str
    reason: str
    bot_id: str
    request_id: str
    trace_id: str
    peer: str
    peer_identity: str
    user_agent: str
    session_id: str
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChainedEvent:
    """An event with its place in the chain. Sequences begin with 1. `commitment` and `salt` are empty in format 1."""

    sequence: int
    event: AuditEvent
    hash: bytes
    previous_hash: bytes
    chain: str = CHAIN
    format: int = PLAIN
    commitment: bytes = b""
    salt: bytes = b""
    erased: bool = False

    def hash_at(self, sequence: int) -> bytes:
        """The hash that this event would have as number `sequence` behind its own `previous_hash`."""
        return _hash(self.previous_hash, self._canonical(sequence))

    def fault(self) -> str:
        """What is wrong with the fields that the hash does not hold themselves; empty if nothing."""
        if self.format == PLAIN:
            bare = not (self.erased or self.salt or self.commitment)
            return "" if bare else "it has no commitment, and something that belongs to one"
        if self.format != COMMITTED:
            return f"its format {self.format} is unknown"
        if self.erased:
            gone = not (self.salt or any(getattr(self.event, name) for name in ERASABLE))
            return "" if gone else "it is marked as erased and holds what should be erased"
        if len(self.salt) != SALT_BYTES or commit(self.event, self.salt) != self.commitment:
            return "actor, request, peer or user agent are not what was committed to"
        return ""

    def _canonical(self, sequence: int) -> bytes:
        commitment = self.commitment if self.format == COMMITTED else None
        return canonical(sequence, self.event, self.chain, commitment)


def canonical(sequence: int, event: AuditEvent, chain: str = CHAIN, commitment: bytes | None = None) -> bytes:
    """The bytes of an event that are hashed: the same on every machine and for ever. Format 2 with a commitment, else 1."""
    time = event.time.astimezone(UTC).isoformat(timespec="microseconds")
    values = {name: _quote(getattr(event, name)) for name in _TEXTS}
    values |= {"chain": _quote(chain), "sequence": str(sequence), "time": f'"{time}"'}
    if commitment is None:
        values |= _erasable(event)
    else:
        values |= {"commitment": f'"{commitment.hex()}"', "format": str(COMMITTED)}
    return _object(values)


def commit(event: AuditEvent, salt: bytes) -> bytes:
    """The commitment to the fields of an event that can be erased."""
    return hashlib.sha256(_COMMITMENT + salt + _object(_erasable(event))).digest()


def link(
    sequence: int, event: AuditEvent, previous_hash: bytes, salt: bytes, chain: str = CHAIN
) -> ChainedEvent:
    """The event as number `sequence` of the chain whose last hash is `previous_hash`; `salt` is 32 random bytes of its own."""
    commitment = commit(event, salt)
    digest = _hash(previous_hash, canonical(sequence, event, chain, commitment))
    return ChainedEvent(sequence, event, digest, previous_hash, chain, COMMITTED, commitment, salt)


def plain_link(sequence: int, event: AuditEvent, previous_hash: bytes, chain: str = CHAIN) -> ChainedEvent:
    """Like `link`, in format 1, which early events have."""
    digest = _hash(previous_hash, canonical(sequence, event, chain))
    return ChainedEvent(sequence, event, digest, previous_hash, chain)


def exact(value: Any) -> Any:
    """JSON with its numbers as they were hashed: whole numbers that a double holds exactly as integers, all others as doubles."""
    match value:
        case dict():
            return {key: exact(item) for key, item in value.items()}
        case list():
            return [exact(item) for item in value]
        case float() if value.is_integer() and abs(value) < _EXACT_IN_DOUBLE:
            return int(value)
        case int() if abs(value) >= _EXACT_IN_DOUBLE:
            return float(value)
        case _:
            return value


def _erasable(event: AuditEvent) -> dict[str, str]:
    return {
        "actor": _quote(event.actor),
        "peer": _quote(event.peer),
        "request": _encode(event.request),
        "user_agent": _quote(event.user_agent),
    }


def _object(values: Mapping[str, str]) -> bytes:
    """A JSON object of values that are JSON already. The general encoder takes twice as long, and whole chains are verified."""
    return ("{" + ",".join([f'"{name}":{values[name]}' for name in sorted(values)]) + "}").encode()


def _hash(previous_hash: bytes, content: bytes) -> bytes:
    return hashlib.sha256(_EVENT + previous_hash + content).digest()
