"""Records as lines of NDJSON and CSV, whatever they hold."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from services.logging import convert
from services.logging.domain.records import Record
from services.logging.export_forms import csv_header, csv_rows, ndjson
from vivesphere.logging.v1 import log_record_pb2

# PostgreSQL keeps neither NUL nor half a surrogate pair, so no record has them.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
times = st.datetimes().map(lambda time: time.replace(tzinfo=UTC))
records = st.builds(
    Record,
    id=st.uuids().map(str),
    time=times,
    observed_time=times,
    category=st.integers(1, 4),
    severity=st.integers(0, 24),
    attributes=st.dictionaries(texts, values, max_size=4),
    **dict.fromkeys(
        (
            *("severity_text", "body", "service", "instance", "service_version"),
            *("actor", "bot_id", "request_id", "trace_id", "span_id"),
        ),
        texts,
    ),
)


def made(**fields: Any) -> Record:
    """A record with only these fields."""
    time = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    empty = dict.fromkeys(Record.__slots__, "") | {"time": time, "observed_time": time, "attributes": {}}
    return Record(**(empty | {"category": 2, "severity": 0} | fields))  # type: ignore[arg-type]


@given(st.lists(records, max_size=3))
def test_a_line_of_ndjson_is_the_record_as_proto_json(rows: list[Record]) -> None:
    """Any reader of the contract reads it back, and a line is a line for every tool."""
    data = ndjson(rows)
    assert data.isascii()
    assert not set(data) & (set(range(32)) - {10} | {127})
    lines = data.decode().splitlines()
    assert [json_format.Parse(line, log_record_pb2.LogRecord()) for line in lines] == [
        convert.record_to(row) for row in rows
    ]


@given(st.lists(records, max_size=3))
def test_a_row_of_csv_has_all_cells_and_drives_nothing(rows: list[Record]) -> None:
    """RFC 4180 as a spreadsheet reads it; no control character but the line feed within quotes."""
    data = (csv_header() + csv_rows(rows)).decode()
    assert not [c for c in data if (ord(c) < 32 and c not in "\r\n") or c in "\x7f\x85\u2028\u2029\u202e"]
    read = list(csv.DictReader(io.StringIO(data, newline=""), strict=True))
    assert [row["id"] for row in read] == [row.id for row in rows]
    for cells, row in zip(read, rows, strict=True):
        assert None not in cells
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells.values())
        assert json.loads(cells["attributes"] or "{}").keys() == row.attributes.keys()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "＝", "＋", "－", "＠"])
def test_a_cell_that_would_run_begins_with_an_apostrophe(start: str) -> None:
    """Logs hold what strangers wrote, and spreadsheets run what begins so."""
    body = start + 'HYPERLINK("http://x")'
    cells = next(
        csv.DictReader(io.StringIO((csv_header() + csv_rows([made(body=body)])).decode(), newline=""))
    )
    assert cells["body"].startswith("'")
    assert cells["service"] == ""


def test_cells_are_quoted_as_the_rfc_says() -> None:
    """Line feeds stay line feeds, quotes are doubled, lines end with CR and LF."""
    row = csv_rows([made(id="1", body='a "b", c\r\nd', severity=17, attributes={"n": 1})]).decode()
    assert row == (
        "1,2026-01-02T03:04:05.000678Z,2026-01-02T03:04:05.000678Z,LOG_CATEGORY_DEBUG,SEVERITY_ERROR,,"
        '"a ""b"", c\nd",,,,,,,,,"{""n"":1}"\r\n'
    )
