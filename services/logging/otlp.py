"""OpenTelemetry's log records → ours.

    resource   service.name, service.instance.id, service.version → fields; the other attributes stand behind those of the record
    scope      otel.scope.name, otel.scope.version
    record     times, severity and trace → fields; body → text, as JSON where it is no text; event_name → event.name
    category   the attribute vivesphere.category: DEBUG if there is none, TERMINAL or CONSOLE

OTLP has no ids, so a record gets one out of its own content (RFC 9562 version 8): an export that is repeated gives the same ids and is
dropped as a duplicate. Records of one export that are the same in every byte, their times included, are told apart by their order.

Nothing is refused for its size: what does not fit is cut, and attributes say so.
"""

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2

from mesh.telemetry.records import cut_text
from services.logging import convert
from services.logging.domain.records import CONSOLE, DEBUG, TERMINAL, Record
from vivesphere.logging.v1 import log_record_pb2

CATEGORY: Final = "vivesphere.category"
CATEGORIES: Final = {"DEBUG": DEBUG, "TERMINAL": TERMINAL, "CONSOLE": CONSOLE}
UNKNOWN_SERVICE: Final = "unknown_service"
"""OpenTelemetry's own name for what has none."""
MAX_BODY_BYTES: Final = 65_536
MAX_ATTRIBUTES: Final = 62
"""The contract allows 64; two may have to say what was cut."""
MAX_ATTRIBUTES_BYTES: Final = 32 * 1024
MAX_DEPTH: Final = 8
MAX_EXACT: Final = 2**53
CUT: Final = "[cut]"

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that is not taken, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the records of one scope have in common."""

    service: str
    instance: str
    version: str
    attributes: Mapping[str, Plain]
    seed: bytes


def records_of(
    request: logs_service_pb2.ExportLogsServiceRequest, now: datetime, actor: str, reserved: frozenset[str]
) -> Iterator[Record | Refused]:
    """Every record of an export, redacted, in its order. `reserved` are names that the sender may not give itself."""
    seen: Counter[bytes] = Counter()
    for resource_logs in request.resource_logs:
        resource = _plain_of(resource_logs.resource.attributes)
        seed = resource_logs.resource.SerializeToString(deterministic=True)
        for scope_logs in resource_logs.scope_logs:
            origin = _origin(resource, seed, scope_logs.scope)
            for message in scope_logs.log_records:
                digest = _digest(origin.seed, message)
                seen[digest] += 1
                yield _record(message, origin, _id(digest, seen[digest]), now, actor, reserved)


def _origin(resource: Mapping[str, Plain], seed: bytes, scope: common_pb2.InstrumentationScope) -> _Origin:
    others = dict(resource)
    names = ("service.name", "service.instance.id", "service.version")
    service, instance, version = (str(others.pop(name, None) or "") for name in names)
    if scope.name:
        others["otel.scope.name"] = scope.name
    if scope.version:
        others["otel.scope.version"] = scope.version
    seed = hashlib.sha256(seed).digest() + scope.SerializeToString(deterministic=True)
    return _Origin(service or UNKNOWN_SERVICE, instance, version, others, seed)


def _record(
    message: logs_pb2.LogRecord,
    origin: _Origin,
    identity: str,
    now: datetime,
    actor: str,
    reserved: frozenset[str],
) -> Record | Refused:
    attributes = _plain_of(message.attributes)
    name = str(attributes.pop(CATEGORY, None) or "DEBUG").upper()
    if name not in CATEGORIES:
        return Refused(f"{CATEGORY} may be {', '.join(CATEGORIES)}")
    if origin.service.strip().lower() in reserved:
        return Refused("service.name is the name of a service of this product")
    if message.event_name:
        attributes["event.name"] = message.event_name
    if message.dropped_attributes_count:
        attributes["otel.dropped_attributes_count"] = message.dropped_attributes_count
    severity = message.severity_number
    made = log_record_pb2.LogRecord(
        id=identity,
        category=log_record_pb2.LogCategory.ValueType(CATEGORIES[name]),
        severity=log_record_pb2.Severity.ValueType(severity if 0 <= severity <= 24 else 0),
        severity_text=message.severity_text[:32],
        body=_text_of(message.body),
        service=origin.service[:64],
        instance=origin.instance[:128],
        service_version=origin.version[:64],
        actor=actor,
        trace_id=_hex(message.trace_id, 16),
        span_id=_hex(message.span_id, 8),
    )
    nanoseconds = message.time_unix_nano or message.observed_time_unix_nano
    if nanoseconds:
        made.time.FromNanoseconds(nanoseconds)
    else:
        made.time.FromDatetime(now)
    _set_attributes(made, {**origin.attributes, **attributes})
    return _cut(convert.record_from(made, now))


def _set_attributes(made: log_record_pb2.LogRecord, attributes: Mapping[str, Plain]) -> None:
    """As many as fit, the record's own first."""
    left, fitting = MAX_ATTRIBUTES_BYTES, dict[str, Any]()
    for name, value in reversed(list(attributes.items())):
        left -= len(name) + len(value if isinstance(value, str) else json.dumps(value))
        if left >= 0 and len(fitting) < MAX_ATTRIBUTES:
            fitting[name] = value
    if len(fitting) < len(attributes):
        fitting["log.cut_attributes"] = len(attributes) - len(fitting)
    made.attributes.update(fitting)


def _cut(record: Record) -> Record:
    """After redaction, which would not know half a secret."""
    body, cut = cut_text(record.body, MAX_BODY_BYTES)
    if not cut:
        return record
    return replace(record, body=body, attributes={**record.attributes, "log.cut_bytes": cut})


def _plain_of(pairs: Sequence[common_pb2.KeyValue], depth: int = 0) -> dict[str, Any]:
    return {pair.key: _plain(pair.value, depth) for pair in pairs}


def _plain(value: common_pb2.AnyValue, depth: int) -> Plain:
    """JSON that survives a Struct, which has one kind of number."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value if abs(value.int_value) < MAX_EXACT else str(value.int_value)
        case "double_value":
            return value.double_value if math.isfinite(value.double_value) else str(value.double_value)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "array_value" if depth < MAX_DEPTH:
            return [_plain(item, depth + 1) for item in value.array_value.values]
        case "kvlist_value" if depth < MAX_DEPTH:
            return _plain_of(value.kvlist_value.values, depth + 1)
        case None:
            return None
        case _:
            return CUT


def _text_of(body: common_pb2.AnyValue) -> str:
    plain = _plain(body, 0)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _hex(raw: bytes, length: int) -> str:
    return raw.hex() if len(raw) == length and any(raw) else ""


def _digest(seed: bytes, message: logs_pb2.LogRecord) -> bytes:
    return hashlib.sha256(seed + b"\0" + message.SerializeToString(deterministic=True)).digest()


def _id(digest: bytes, occurrence: int) -> str:
    """A UUID of version 8 out of the content's hash."""
    raw = bytearray(hashlib.sha256(digest + occurrence.to_bytes(4, "big")).digest()[:16])
    raw[6] = 0x80 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
