"""What is in a message of LOGS or AUDIT: records that can be stored, and what is wrong with the others.

A LogBatch may be compressed (header `Content-Encoding: zstd`); it says in its frame how large it becomes, so that nobody can make this
process swell. A record that breaks its contract costs its neighbours nothing. What is set aside is kept without secrets.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

from google.protobuf.message import DecodeError

from mesh.clock import Clock
from mesh.errors import InvalidArgument
from mesh.ids import is_uuid, new_id
from mesh.interceptors.stages import validate
from mesh.messaging import Message
from mesh.redaction import redact_message, redactor
from mesh.telemetry import compression
from services.logging import convert
from services.logging.domain.chain import AuditEvent
from services.logging.domain.records import USER_ACTIVITY, Record
from services.logging.store.writing import Poison
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2

KiB: Final = 1024
MAX_BATCH_RECORDS: Final = 1_000
"""As in LogBatch."""
MAX_RECORD_BYTES: Final = 192 * KiB
"""The longest body and twice as much of attributes: what is larger is no line of log, and would hold up all others."""
A_TURN_BYTES: Final = 64 * KiB
RECORD_OVERHEAD_BYTES: Final = 300
"""Other tasks get their turn after so much work: each record counts by its size and for as much again as reading one takes anyway."""
TERMINAL_SENDER: Final = "terminal"
"""The supervisor of a mesh on one machine, which captures what its processes print."""
MAX_REASON_CHARS: Final = 500
MAX_KEPT_BYTES: Final = 16 * KiB
NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Placed:
    """A record and where it stood, should the store refuse it: its message and its position there."""

    record: Record
    message: Message
    position: int

    def poison(self, reason: str) -> Poison:
        """What is kept of it when it cannot be stored."""
        kept = {"id": self.record.id, "body": self.record.body, "attributes": self.record.attributes}
        payload = json.dumps(kept, ensure_ascii=False).encode()[:MAX_KEPT_BYTES]
        return Poison(self.message.subject, self.message.id, self.position, reason, payload)


class Unreadable(Exception):
    """A message that is no LogBatch; its text is a reason without data."""


async def read_batch(message: Message, clock: Clock) -> AsyncIterator[Placed | Poison]:
    """The records of a LogBatch one by one; other tasks get their turn meanwhile."""
    try:
        batch = _batch_in(message)
    except Unreadable as error:
        yield Poison(message.subject, message.id, 0, str(error), _readable(message))
        return
    now = convert.close_time_of(batch, clock.now())
    read = 0
    for position, record in enumerate(batch.records):
        size = record.ByteSize()
        read += size + RECORD_OVERHEAD_BYTES
        if read > A_TURN_BYTES:
            read = 0
            await asyncio.sleep(0)
        if size > MAX_RECORD_BYTES:
            yield Poison(message.subject, message.id, position, "larger than a record may be", b"")
        else:
            yield _read_one(message, batch, position, now)


def _read_one(
    message: Message, batch: log_batch_pb2.LogBatch, position: int, now: datetime
) -> Placed | Poison:
    record, sender = batch.records[position], message.subject.rpartition(".")[2]
    found = convert.record_from(
        record,
        now,
        id="" if record.id else _id(batch.id, position),
        service=sender,
        instance=batch.instance,
        service_version=batch.service_version,
    )
    # No rule is about attributes, but judging copies all that there is.
    record.ClearField("attributes")
    reason = _fault(record, sender)
    if not reason:
        return Placed(found, message, position)
    kept = _without_secrets(record, found.attributes)
    return Poison(message.subject, message.id, position, reason, kept)


def read_audit(message: Message, clock: Clock) -> tuple[AuditEvent, Placed] | Poison:
    """The audit event in a message, and the record that it comes with."""
    try:
        record = log_record_pb2.LogRecord.FromString(message.payload)
    except DecodeError:
        return Poison(message.subject, message.id, 0, "not a LogRecord", _readable(message))
    reason = _fault(record, message.subject.rpartition(".")[2])
    if not reason and record.category != USER_ACTIVITY:
        reason = "category is not USER_ACTIVITY"
    if not reason and not (record.id and record.HasField("audit") and convert.has_time(record)):
        reason = "id, time or audit is missing"
    if reason:
        return Poison(message.subject, message.id, 0, reason, _without_secrets(record))
    found = convert.record_from(record, clock.now(), id=record.id)
    return convert.audit_event_from(record), Placed(found, message, 0)


def _batch_in(message: Message) -> log_batch_pb2.LogBatch:
    """Raises Unreadable."""
    try:
        batch = log_batch_pb2.LogBatch.FromString(_plain_bytes(message))
    except DecodeError:
        raise Unreadable("not a LogBatch") from None
    if len(batch.records) > MAX_BATCH_RECORDS:
        raise Unreadable("too many records in a LogBatch")
    return batch


def _plain_bytes(message: Message) -> bytes:
    """The payload as it was before it was compressed. Raises Unreadable."""
    try:
        return compression.decompress(message.payload, message.headers)
    except ValueError as error:
        raise Unreadable(str(error)) from None


def _id(batch: str, position: int) -> str:
    """For a record without an id: the same whenever its batch is delivered again."""
    return str(uuid5(UUID(batch), str(position))) if is_uuid(batch) else new_id()


def _readable(message: Message) -> bytes:
    """What can be shown of an unreadable payload; nothing of a compressed one, in which secrets cannot be told."""
    if message.headers.get(compression.HEADER):
        return b""
    return redactor.text(message.payload[:MAX_KEPT_BYTES].decode("utf-8", "replace")).encode()


def _without_secrets(record: log_record_pb2.LogRecord, attributes: Mapping[str, Any] = NOTHING) -> bytes:
    shown = redact_message(record, MAX_KEPT_BYTES)
    kept = {**shown, "attributes": attributes} if attributes else shown
    return json.dumps(kept, ensure_ascii=False).encode()[:MAX_KEPT_BYTES]


def _fault(record: log_record_pb2.LogRecord, sender: str) -> str:
    """Why a record cannot be stored, or "". A service speaks for itself alone: the subject says who it is. Only who captures the
    output of all speaks for others."""
    captured = sender == TERMINAL_SENDER and record.category == log_record_pb2.LOG_CATEGORY_TERMINAL
    if record.service and record.service != sender and not captured:
        return "service is not the one that published"
    try:
        validate(record)
    except InvalidArgument as error:
        return error.message[:MAX_REASON_CHARS]
    return ""
