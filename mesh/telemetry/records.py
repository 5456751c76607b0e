"""A snapshot as the `LogRecord` that is shipped. The record has passed the redactor before.

Extras with a field of their own (`request_id`, `trace_id`, `span_id`, `actor`, `bot_id`, `category`) go there if their form is right;
everything else, and what has the wrong form, becomes an attribute. What is too long is cut, and the cut is told.
"""

import json
import re
from typing import Any, Final

from mesh.ids import is_uuid, new_id
from mesh.telemetry.snapshot import Snapshot
from vivesphere.logging.v1 import log_record_pb2

KiB: Final = 1024
MAX_BODY_BYTES: Final = 64 * KiB
MAX_ATTRIBUTES: Final = 63
MAX_ATTRIBUTES_BYTES: Final = 64 * KiB
OWN_FIELDS: Final = ("request_id", "trace_id", "span_id", "actor", "bot_id")
_FORMS: Final = {
    "request_id": re.compile(r".{0,128}", re.DOTALL),
    "trace_id": re.compile(r"([0-9a-f]{32})?", re.ASCII),
    "span_id": re.compile(r"([0-9a-f]{16})?", re.ASCII),
    "actor": re.compile(r".{0,256}", re.DOTALL),
}
_CATEGORIES: Final = {
    name.removeprefix("LOG_CATEGORY_").lower(): number
    for name, number in log_record_pb2.LogCategory.items()
    if number
}
# OpenTelemetry's numbers; loguru's SUCCESS lies between INFO and WARNING.
_SEVERITIES: Final = (
    (50, log_record_pb2.SEVERITY_FATAL),
    (40, log_record_pb2.SEVERITY_ERROR),
    (30, log_record_pb2.SEVERITY_WARN),
    (25, log_record_pb2.SEVERITY_INFO2),
    (20, log_record_pb2.SEVERITY_INFO),
    (10, log_record_pb2.SEVERITY_DEBUG),
)


_USUAL: Final = dict(_SEVERITIES)


def severity_of(level: int) -> "log_record_pb2.Severity.ValueType":
    """OpenTelemetry's severity of a loguru or standard library level."""
    usual = _USUAL.get(level)
    if usual is not None:
        return usual
    for least, severity in _SEVERITIES:
        if level >= least:
            return severity
    return log_record_pb2.SEVERITY_TRACE


def split_fields(extra: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Extras that have a field of their own, and the others."""
    own: dict[str, str] = {}
    attributes: dict[str, Any] = {}
    for name, value in extra.items():
        if name in OWN_FIELDS and isinstance(value, str) and _fits(name, value):
            own[name] = value
        elif name != "category":
            attributes[name] = value
    return own, attributes


def to_log_record(record: Snapshot) -> log_record_pb2.LogRecord:
    """The record with a new id, without `service` and `instance`, which its batch carries."""
    own, attributes = split_fields(record.extra)
    body, cut = cut_text(record.message, MAX_BODY_BYTES)
    if cut:
        attributes["log.cut_bytes"] = cut
    attributes["logger"] = record.logger
    result = log_record_pb2.LogRecord(
        id=new_id(),
        category=_CATEGORIES.get(
            str(record.extra.get("category", "")).lower(), log_record_pb2.LOG_CATEGORY_DEBUG
        ),
        severity=severity_of(record.level),
        severity_text=record.level_name[:32],
        body=body,
        request_id=own.get("request_id", ""),
        trace_id=own.get("trace_id", ""),
        span_id=own.get("span_id", ""),
        actor=own.get("actor", ""),
        bot_id=own.get("bot_id", ""),
    )
    result.time.FromDatetime(record.time)
    result.observed_time.CopyFrom(result.time)
    _set_attributes(result, attributes)
    return result


def cut_text(text: str, limit: int) -> tuple[str, int]:
    """The text as valid UTF-8 of at most `limit` bytes, and how many bytes were cut."""
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= limit:
        return encoded.decode("utf-8"), 0
    kept = encoded[:limit].decode("utf-8", "ignore")
    return kept, len(encoded) - len(kept.encode())


def _fits(name: str, value: str) -> bool:
    if name == "bot_id":
        return not value or is_uuid(value)
    return value.isprintable() and _FORMS[name].fullmatch(value) is not None


def _set_attributes(result: log_record_pb2.LogRecord, attributes: dict[str, Any]) -> None:
    kept = dict(list(attributes.items())[:MAX_ATTRIBUTES])
    if len(kept) < len(attributes):
        kept["log.cut_attributes"] = len(attributes) - len(kept)
    try:
        result.attributes.update(kept)
        if result.attributes.ByteSize() <= MAX_ATTRIBUTES_BYTES:
            return
    except (ValueError, TypeError, UnicodeError):
        pass  # such as lone surrogates; the text form below holds anything
    result.attributes.Clear()
    text, cut = cut_text(json.dumps(kept, default=repr), MAX_ATTRIBUTES_BYTES // 2)
    result.attributes.update({"log.raw": text, "log.cut_bytes": cut})
