"""Records as lines of PostgreSQL's COPY text format (documentation of COPY, "Text Format"): tabs between columns, no NULLs."""

import json
from collections.abc import Iterator, Sequence

from services.logging.domain.records import Record

ROWS_A_CHUNK = 250
"""About two milliseconds of work."""
COPY_RECORDS = (
    "COPY records (id, time, observed_time, category, severity, severity_text, body, service, instance, service_version, actor,"
    " bot_id, request_id, trace_id, span_id, attributes, batch) FROM STDIN"
)

_TABS = COPY_RECORDS.count(",")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def chunks(records: Sequence[Record], batch: int) -> Iterator[bytes]:
    """The lines of COPY_RECORDS, some hundred at a time. Texts must hold no U+0000."""
    number = str(batch)
    for start in range(0, len(records), ROWS_A_CHUNK):
        lines = [_line(record, number) for record in records[start : start + ROWS_A_CHUNK]]
        yield "".join(lines).encode()


def _line(record: Record, batch: str) -> str:
    time = record.time.isoformat()
    fields = (
        record.id,
        time,
        time if record.observed_time is record.time else record.observed_time.isoformat(),
        str(record.category),
        str(record.severity),
        record.severity_text,
        record.body,
        record.service,
        record.instance,
        record.service_version,
        record.actor,
        record.bot_id,
        record.request_id,
        record.trace_id,
        record.span_id,
        _encode(record.attributes) if record.attributes else "{}",
        batch,
    )
    line = "\t".join(fields)
    # Most lines hold nothing to escape, and looking at a whole one is cheaper than at each of its fields.
    if "\\" in line or "\n" in line or "\r" in line or line.count("\t") != _TABS:
        line = "\t".join(field.translate(_ESCAPES) for field in fields)
    return line + "\n"
