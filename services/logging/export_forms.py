"""Records as lines of a file: NDJSON for programs, CSV for spreadsheets.

Both are safe to show and to load whatever a record holds. NDJSON is ASCII and loses nothing: each line is the record as proto JSON. In CSV
what could drive a terminal or turn the reading direction is written as an escape, and a cell that a spreadsheet would run as a formula
begins with "'".
"""

import csv
import io
import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from mesh.telemetry.lines import escape
from services.logging.domain.records import Record
from vivesphere.logging.v1 import log_record_pb2

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv; charset=utf-8"
_CELLS: Final = (
    "id",
    "time",
    "observed_time",
    "category",
    "severity",
    "severity_text",
    "body",
    "service",
    "instance",
    "service_version",
    "actor",
    "bot_id",
    "request_id",
    "trace_id",
    "span_id",
    "attributes",
)
# https://owasp.org/www-community/attacks/CSV_Injection, with the wide forms that spreadsheets in East Asia take for the same.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_CATEGORIES: Final = {value: name for name, value in log_record_pb2.LogCategory.items()}
_SEVERITIES: Final = {value: name for name, value in log_record_pb2.Severity.items()}
_CAMEL: Final = {name: name.split("_")[0] + "".join(map(str.title, name.split("_")[1:])) for name in _CELLS}

Render = Callable[[Iterable[Record]], bytes]


def ndjson(records: Iterable[Record]) -> bytes:
    """One LogRecord as proto JSON a line; empty fields are left out."""
    return "".join(
        _json({_CAMEL[name]: value for name, value in _fields(record)}) + "\n" for record in records
    ).encode()


def csv_header() -> bytes:
    """The names of the columns."""
    return (",".join(_CELLS) + "\r\n").encode()


def csv_rows(records: Iterable[Record]) -> bytes:
    """RFC 4180, a row a record."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _CELLS)
    for record in records:
        writer.writerow({name: _cell(value) for name, value in _fields(record)})
    return out.getvalue().encode()


def _fields(record: Record) -> Iterable[tuple[str, Any]]:
    for name in _CELLS:
        value = getattr(record, name)
        match name:
            case "time" | "observed_time":
                yield name, _stamp(value)
            case "category":
                yield name, _CATEGORIES[value]
            case "severity":
                if value:
                    yield name, _SEVERITIES[value]
            case _:
                if value:
                    yield name, value


def _stamp(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _json(value: Any) -> str:
    # DEL is the one control character that JSON lets through.
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f")


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else _json(value)
    shown = "\n".join(escape(line) for line in text.replace("\r\n", "\n").split("\n"))
    return f"'{shown}" if text.startswith(_FORMULA) else shown
