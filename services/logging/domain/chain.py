"""The hash chain of audit events: each event's hash covers its canonical bytes and the hash before it.

    hash[n] = SHA-256(0x01 || hash[n-1] || canonical(event[n]))        hash[0] = 32 zero bytes

Canonical bytes are JSON with sorted keys, no white space, UTF-8, times in RFC 3339 with microseconds. Changing, removing, inserting or
reordering events breaks every hash that follows. The domain byte 0x01 keeps these hashes apart from any other use (RFC 6962 2.1).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

CHAIN = "main"
GENESIS = bytes(32)
_EVENT = b"\x01"


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
    """An event with its place in the chain. Sequences begin with 1."""

    sequence: int
    event: AuditEvent
    hash: bytes
    previous_hash: bytes


def canonical(sequence: int, event: AuditEvent) -> bytes:
    """The bytes of an event that are hashed: the same on every machine and for ever."""
    fields = {
        "chain": CHAIN,
        "sequence": sequence,
        "id": event.id,
        "time": event.time.astimezone(UTC).isoformat(timespec="microseconds"),
        "service": event.service,
        "actor": event.actor,
        "action": event.action,
        "resource": event.resource,
        "outcome": event.outcome,
        "reason": event.reason,
        "bot_id": event.bot_id,
        "request_id": event.request_id,
        "trace_id": event.trace_id,
        "peer": event.peer,
        "peer_identity": event.peer_identity,
        "user_agent": event.user_agent,
        "session_id": event.session_id,
        "request": event.request,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def link(sequence: int, event: AuditEvent, previous_hash: bytes) -> ChainedEvent:
    """The event as number `sequence` of the chain whose last hash is `previous_hash`."""
    digest = hashlib.sha256(_EVENT + previous_hash + canonical(sequence, event)).digest()
    return ChainedEvent(sequence, event, digest, previous_hash)
