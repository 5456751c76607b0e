"""protobuf ↔ domain for logging. Total: every message of the contract converts, whatever its fields hold."""

import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from google.protobuf import struct_pb2, timestamp_pb2

from mesh.ids import EPOCH, time_of
from mesh.redaction import REDACTED, is_sensitive_name, redactor
from services.logging.auditing.proving import Proof, Question
from services.logging.domain.audit_filter import AuditFilter
from services.logging.domain.chain import CHAIN, AuditEvent, ChainedEvent
from services.logging.domain.following import Gap
from services.logging.domain.histogram import Buckets, Grouping, Tally
from services.logging.domain.records import Filter, Record
from services.logging.domain.verifying import Defect
from services.logging.store.statements import Signed
from vivesphere.logging.v1 import (
    audit_event_pb2,
    audit_service_pb2,
    log_batch_pb2,
    log_record_pb2,
    log_service_pb2,
)

MAX_EXACT: Final = 2**53
"""Below it a double holds every integer."""
LEAST_SECRET: Final = 5
"""Characters of the shortest text that redaction would change: a name of three, a separator, a value."""
MAX_INT32: Final = 2**31 - 1
NAMES: Final = 4_096
"""Of attributes that are remembered."""


def record_from(message: log_record_pb2.LogRecord, now: datetime, **defaults: str) -> Record:
    """A record out of its message; `defaults` stand for empty fields (`id`, `service`, `instance`, `service_version`).

    What the source forgot to redact is redacted here. A time that no calendar has counts as absent.
    """
    identity = message.id.lower() or defaults["id"]
    observed = _time_or_none(message, "observed_time") or now
    time = _time_or_none(message, "time") or _time_within(identity) or observed
    return Record(
        id=identity,
        time=time,
        observed_time=time if observed == time else observed,
        category=message.category,
        severity=message.severity,
        severity_text=_text(message.severity_text),
        body=redactor.text(_text(message.body)),
        service=_text(message.service or defaults.get("service", "")),
        instance=_text(message.instance or defaults.get("instance", "")),
        service_version=_text(message.service_version or defaults.get("service_version", "")),
        actor=_text(message.actor),
        bot_id=message.bot_id.lower(),
        request_id=_text(message.request_id),
        trace_id=message.trace_id,
        span_id=message.span_id,
        attributes=_plain(message.attributes),
    )


def has_time(message: log_record_pb2.LogRecord) -> bool:
    """Whether the message has a time of its own that a calendar has."""
    return _time_or_none(message, "time") is not None


def close_time_of(batch: log_batch_pb2.LogBatch, now: datetime) -> datetime:
    """When the batch was closed, `now` if it does not say."""
    return _time_or_none(batch, "create_time") or now


def record_to(record: Record) -> log_record_pb2.LogRecord:
    """The message of a stored record."""
    message = log_record_pb2.LogRecord(
        id=record.id,
        category=log_record_pb2.LogCategory.ValueType(record.category),
        severity=log_record_pb2.Severity.ValueType(record.severity),
        severity_text=record.severity_text,
        body=record.body,
        service=record.service,
        instance=record.instance,
        service_version=record.service_version,
        actor=record.actor,
        bot_id=record.bot_id,
        request_id=record.request_id,
        trace_id=record.trace_id,
        span_id=record.span_id,
    )
    message.time.FromDatetime(record.time)
    message.observed_time.FromDatetime(record.observed_time)
    if record.attributes:
        message.attributes.update(dict(record.attributes))
    return message


def audit_event_from(message: log_record_pb2.LogRecord) -> AuditEvent:
    """The audit event that a USER_ACTIVITY record carries."""
    details = message.audit
    return AuditEvent(
        id=message.id,
        time=_time(message.time),
        service=message.service,
        actor=_text(message.actor),
        action=details.action,
        resource=_text(details.resource),
        outcome=details.outcome,
        reason=details.reason,
        bot_id=message.bot_id.lower(),
        request_id=_text(message.request_id),
        trace_id=message.trace_id,
        peer=_text(details.peer),
        peer_identity=_text(details.peer_identity),
        user_agent=_text(details.user_agent),
        session_id=_text(details.session_id),
        request=_plain(details.request),
    )


def audit_event_to(chained: ChainedEvent) -> audit_event_pb2.AuditEvent:
    """The message of a chained event."""
    event = chained.event
    message = audit_event_pb2.AuditEvent(
        sequence=chained.sequence,
        id=event.id,
        chain=chained.chain,
        service=event.service,
        actor=event.actor,
        action=event.action,
        resource=event.resource,
        outcome=event.outcome,
        reason=event.reason,
        bot_id=event.bot_id,
        request_id=event.request_id,
        trace_id=event.trace_id,
        peer=event.peer,
        peer_identity=event.peer_identity,
        user_agent=event.user_agent,
        session_id=event.session_id,
        hash=chained.hash.hex(),
        previous_hash=chained.previous_hash.hex(),
        commitment=chained.commitment.hex(),
        salt=chained.salt.hex(),
        erased=chained.erased,
        format=chained.format,
    )
    message.time.FromDatetime(event.time)
    if event.request:
        message.request.update(dict(event.request))
    return message


Search = (
    log_service_pb2.QueryLogsRequest
    | log_service_pb2.GetLogHistogramRequest
    | log_service_pb2.ExportLogsRequest
)


def filter_from(request: Search, order: int = log_record_pb2.LOG_ORDER_UNSPECIFIED) -> Filter:
    """What a search looks for."""
    return Filter(
        start_time=_time(request.start_time) if request.HasField("start_time") else None,
        end_time=_time(request.end_time) if request.HasField("end_time") else None,
        categories=tuple(request.categories),
        min_severity=request.min_severity,
        service=_text(request.service),
        actor=_text(request.actor),
        bot_id=request.bot_id.lower(),
        request_id=_text(request.request_id),
        trace_id=request.trace_id,
        text=_text(request.text),
        attributes={_text(name): _text(value) for name, value in request.attributes.items()},
        oldest_first=order == log_record_pb2.LOG_ORDER_OLDEST_FIRST,
    )


def histogram_to(
    asked: Buckets, grouping: Grouping, tallies: Iterable[Tally]
) -> log_service_pb2.GetLogHistogramResponse:
    """The message of a histogram: every bucket, empty ones too."""
    counts: defaultdict[datetime, dict[str, int]] = defaultdict(dict)
    for tally in tallies:
        counts[tally.bucket][_group_name(grouping, tally.group)] = tally.count
    response = log_service_pb2.GetLogHistogramResponse(
        total_count=_saturated(sum(sum(groups.values()) for groups in counts.values()))
    )
    response.interval.FromTimedelta(asked.interval)
    for start in asked.starts():
        groups = counts.get(start, {})
        bucket = response.buckets.add(count=_saturated(sum(groups.values())))
        bucket.start_time.FromDatetime(start)
        if grouping is not Grouping.NOTHING:
            bucket.groups.update({name: _saturated(number) for name, number in groups.items()})
    return response


def _group_name(grouping: Grouping, group: int | str | None) -> str:
    match grouping:
        case Grouping.SEVERITY:
            return log_record_pb2.Severity.Name(log_record_pb2.Severity.ValueType(int(group or 0)))
        case Grouping.CATEGORY:
            return log_record_pb2.LogCategory.Name(log_record_pb2.LogCategory.ValueType(int(group or 0)))
        case _:
            return str(group or "")


def _saturated(number: int) -> int:
    """As much of a count as the contract's kind of number holds."""
    return min(number, MAX_INT32)


def tail_filter_from(request: log_service_pb2.TailLogsRequest) -> Filter:
    """What a tail follows."""
    return Filter(
        categories=tuple(request.categories),
        min_severity=request.min_severity,
        service=request.service,
        actor=request.actor,
        bot_id=request.bot_id.lower(),
        request_id=request.request_id,
        trace_id=request.trace_id,
        text=request.text,
        attributes=dict(request.attributes),
    )


def gap_to(gap: Gap) -> log_service_pb2.LogGap:
    """The message of a gap."""
    message = log_service_pb2.LogGap(dropped_count=_saturated(gap.count))
    message.first_time.FromDatetime(gap.first_time)
    message.last_time.FromDatetime(gap.last_time)
    return message


def audit_filter_from(request: audit_service_pb2.ListAuditEventsRequest) -> AuditFilter:
    """What a list of audit events looks for."""
    return AuditFilter(
        start_time=_time(request.start_time) if request.HasField("start_time") else None,
        end_time=_time(request.end_time) if request.HasField("end_time") else None,
        actor=request.actor,
        action=request.action,
        resource=request.resource.rstrip("/"),
        outcome=request.outcome,
        bot_id=request.bot_id.lower(),
        request_id=request.request_id,
        service=request.service,
        chain=request.chain or CHAIN,
        oldest_first=request.order == log_record_pb2.LOG_ORDER_OLDEST_FIRST,
    )


def question_from(request: audit_service_pb2.VerifyAuditChainRequest) -> Question:
    """What is to be proved."""
    return Question(
        request.chain or CHAIN, request.first_sequence, request.last_sequence, request.checkpoint_note
    )


def proof_to(proof: Proof, chain: str) -> audit_service_pb2.VerifyAuditChainResponse:
    """The answer to it."""
    return audit_service_pb2.VerifyAuditChainResponse(
        valid=proof.defect is None,
        checked_count=proof.checked,
        chain=chain,
        first_sequence=proof.first,
        last_sequence=proof.last,
        last_hash=proof.last_hash.hex(),
        defect=None if proof.defect is None else _defect(proof.defect),
        tombstones=[_tombstone(item) for item in proof.tombstones],
    )


def checkpoint_to(signed: Signed) -> audit_event_pb2.AuditCheckpoint:
    """The message of a checkpoint."""
    said = signed.statement
    message = audit_event_pb2.AuditCheckpoint(
        chain=said.chain,
        sequence=said.sequence,
        hash=said.hash.hex(),
        note=signed.note,
        verifier_key=signed.key,
    )
    message.time.FromDatetime(said.time)
    return message


def _tombstone(signed: Signed) -> audit_event_pb2.AuditTombstone:
    said = signed.statement
    message = audit_event_pb2.AuditTombstone(
        chain=said.chain, last_sequence=said.sequence, last_hash=said.hash.hex(), note=signed.note
    )
    message.time.FromDatetime(said.time)
    return message


def _defect(defect: Defect) -> audit_event_pb2.AuditDefect:
    return audit_event_pb2.AuditDefect(
        kind=audit_event_pb2.AuditDefectKind.ValueType(defect.kind.value),
        sequence=defect.sequence,
        event_id=defect.event_id,
        expected_hash=defect.expected.hex(),
        found_hash=defect.found.hex(),
        message=defect.message,
    )


def _time(stamp: timestamp_pb2.Timestamp) -> datetime:
    """To the microsecond. Raises OverflowError for what no calendar has."""
    return EPOCH + timedelta(0, stamp.seconds, stamp.nanos // 1_000)


def _time_or_none(message: log_record_pb2.LogRecord | log_batch_pb2.LogBatch, name: Any) -> datetime | None:
    if not message.HasField(name):
        return None
    try:
        return _time(getattr(message, name))
    except OverflowError:
        return None


def _time_within(identity: str) -> datetime | None:
    """The time that a UUIDv7 carries."""
    try:
        return time_of(identity)
    except (ValueError, OverflowError):
        return None


def _text(text: str) -> str:
    """PostgreSQL's text has no NUL; what held one says so."""
    return text.replace("\x00", "\N{SYMBOL FOR NULL}") if "\x00" in text else text


def _plain(message: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as JSON data without secrets."""
    plain: dict[str, Any] = {}
    for name, value in message.fields.items():
        shown, sensitive = _judged(name)
        plain[shown] = REDACTED if sensitive and value.HasField("string_value") else _value(value)
    return plain


@lru_cache(NAMES)
def _judged(name: str) -> tuple[str, bool]:
    """An attribute's name without secrets of its own, and whether it speaks of one. Few names come again and again."""
    plain = _text(name)
    return redactor.text(plain), is_sensitive_name(plain)


def _value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            text = _text(value.string_value)
            return redactor.text(text) if len(text) >= LEAST_SECRET else text
        case "number_value":
            return _number(value.number_value)
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _plain(value.struct_value)
        case "list_value":
            return [_value(item) for item in value.list_value.values]
        case _:
            return None


def _number(number: float) -> int | float | str:
    """Struct has one kind of number: a count should read 3, not 3.0; and JSON has no infinity."""
    if not math.isfinite(number):
        return str(number)
    return int(number) if number.is_integer() and abs(number) < MAX_EXACT else number
