"""Lines of COPY's text format: one a record, and nothing in a text is taken for syntax."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.logging.store.rows import COPY_RECORDS, ROWS_A_CHUNK, chunks
from tests.fakes.logging import a_record

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ESCAPES = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}


def unescaped(field: str) -> str:
    """As PostgreSQL reads it (documentation of COPY, "Text Format")."""
    characters = iter(field)
    return "".join(ESCAPES[next(characters)] if character == "\\" else character for character in characters)


@given(TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS))
def test_a_line_reads_back_as_its_record(body: str, actor: str, attributes: dict[str, str]) -> None:
    """Columns keep their places whatever stands in them."""
    record = a_record(body=body, actor=actor, attributes=attributes)
    [chunk] = chunks([record], 7)
    line, end = chunk.decode().split("\n")
    columns = COPY_RECORDS[COPY_RECORDS.index("(") + 1 : COPY_RECORDS.index(")")].split(", ")
    fields = dict(zip(columns, map(unescaped, line.split("\t")), strict=True))
    assert (end, fields["body"], fields["actor"], fields["batch"]) == ("", body, actor, "7")
    assert json.loads(fields["attributes"]) == attributes
    assert datetime.fromisoformat(fields["time"]) == record.time
    assert fields["id"] == record.id


def test_lines_come_some_hundred_at_a_time() -> None:
    """Other tasks run between two chunks."""
    records = [a_record(body=str(n), time=datetime(2026, 1, 1, tzinfo=UTC)) for n in range(ROWS_A_CHUNK + 1)]
    assert [chunk.count(b"\n") for chunk in chunks(records, 1)] == [ROWS_A_CHUNK, 1]
