"""protobuf ↔ domain for logging. Total: every message of the contract converts, whatever its fields hold."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format, struct_pb2, timestamp_pb2

from services.logging.auditing.proving import Proof, Question
from services.logging.domain.audit_filter import AuditFilter
from services.logging.domain.chain import CHAIN, AuditEvent, ChainedEvent
from services.logging.domain.records import Filter, Record
from services.logging.domain.verifying import Defect
from services.logging.store.statements import Signed
from vivesphere.logging.v1 import (
    audit_event_pb2,
    audit_service_pb2,
    log_record_pb2,
    log_service_pb2,
)


def record_from(message: log_record_pb2.LogRecord, now: datetime, **defaults: str) -> Record:
    """A record out of its message; `defaults` stand for empty fields (`id`, `service`, `instance`, `service_version`)."""
    observed = _time(message.observed_time) if message.HasField("observed_time") else now
    return Record(
        id=message.id or defaults["id"],
        time=_time(message.time) if message.HasField("time") else observed,
        observed_time=observed,
        category=message.category,
        severity=message.severity,
        severity_text=message.severity_text,
        body=_text(message.body),
        service=message.service or defaults.get("service", ""),
        instance=message.instance or defaults.get("instance", ""),
        service_version=message.service_version or defaults.get("service_version", ""),
        actor=_text(message.actor),
        bot_id=message.bot_id.lower(),
        request_id=_text(message.request_id),
        trace_id=message.trace_id,
        span_id=message.span_id,
        attributes=_plain(message.attributes),
    )


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


def filter_from(request: log_service_pb2.QueryLogsRequest) -> Filter:
    """What a query looks for."""
    return Filter(
        start_time=_time(request.start_time) if request.HasField("start_time") else None,
        end_time=_time(request.end_time) if request.HasField("end_time") else None,
        categories=tuple(request.categories),
        min_severity=request.min_severity,
        service=request.service,
        actor=request.actor,
        bot_id=request.bot_id.lower(),
        request_id=request.request_id,
        trace_id=request.trace_id,
        text=request.text,
        attributes=dict(request.attributes),
        oldest_first=request.order == log_record_pb2.LOG_ORDER_OLDEST_FIRST,
    )


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
    return stamp.ToDatetime(tzinfo=UTC)


def _text(text: str) -> str:
    """PostgreSQL's text has no NUL; what held one says so."""
    return text.replace("\x00", "\N{SYMBOL FOR NULL}")


def _plain(message: struct_pb2.Struct) -> Mapping[str, Any]:
    plain: Mapping[str, Any] = _without_nul(json_format.MessageToDict(message))
    return plain


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return _text(value)
        case dict():
            return {_text(key): _without_nul(item) for key, item in value.items()}
        case list():
            return [_without_nul(item) for item in value]
        case float() if value.is_integer() and abs(value) < 2**53:
            # Struct has one kind of number; a count should read 3, not 3.0.
            return int(value)
        case _:
            return value
