"""Readings as a file: CSV with a header line (RFC 4180), or one JSON object a line."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from services.bot_manager.domain.model import Counters
from services.bot_manager.domain.statistics import ExportRow
from services.bot_manager.domain.story import time_text

CSV: Final = "text/csv; charset=utf-8"
NDJSON: Final = "application/x-ndjson"
COLUMNS: Final = ("bot_id", "post_id", "x_post_id", "read_time", *(field.name for field in fields(Counters)))


def csv_header() -> bytes:
    """The first line."""
    return _csv([COLUMNS])


def csv_rows(rows: Sequence[ExportRow]) -> bytes:
    """A line for each reading. No value can be taken for a formula: all are ids, times and numbers."""
    return _csv([tuple(_values(row).values()) for row in rows])


def ndjson_rows(rows: Sequence[ExportRow]) -> bytes:
    """A line for each reading."""
    return b"".join(json.dumps(_values(row), separators=(",", ":")).encode() + b"\n" for row in rows)


def _values(row: ExportRow) -> dict[str, Any]:
    reading = row.reading
    return {
        "bot_id": row.bot_id,
        "post_id": reading.post_id,
        "x_post_id": reading.x_post_id,
        "read_time": time_text(reading.time),
        **asdict(reading.counters),
    }


def _csv(lines: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()
