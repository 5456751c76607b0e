"""Whatever a line holds: it is stored as it is, found again, and shown on one line that drives no terminal."""

import os
import unicodedata
from collections.abc import Sequence

from cli.logs_view import json_line, record_text
from mesh.database import Database
from mesh.ids import new_id
from mesh.redaction import redactor
from mesh.telemetry.records import cut_text
from services.logging import convert
from services.logging.domain.records import Filter, Record
from services.logging.store.search import PostgresRecordSearch
from tests.fakes.hostile import hostile
from tests.fakes.logging import a_message, ingest_of
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2

LONG = os.environ.get("VIVESPHERE_TEST_PROFILE") == "long"
LINES = 1_000_000 if LONG else 4_000
SEED = int.from_bytes(os.urandom(4)) if LONG else 7
A_BATCH = 100
A_HANDOVER = 10
PAGE = 1_000
DRIVES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of what moves the cursor, the reading direction or the line."""


async def test_hostile_lines_are_stored_and_shown_safely(database: Database) -> None:
    """A million in the long form."""
    marker, expected, waiting = new_id(), {}, list[log_record_pb2.LogRecord]()
    ingest = ingest_of(database)
    for line in hostile(LINES, SEED):
        record = _record(line, marker)
        expected[record.id] = hash(redactor.text(record.body.replace("\0", "\N{SYMBOL FOR NULL}")))
        waiting.append(record)
        if len(waiting) == A_BATCH * A_HANDOVER:
            await ingest.logs([_message(waiting[n::A_HANDOVER]) for n in range(A_HANDOVER)])
            waiting.clear()
    search, after = PostgresRecordSearch(database), None
    while page := await search.find(Filter(request_id=marker), after, PAGE, seconds=60):
        for record in page:
            assert hash(record.body) == expected.pop(record.id)
            _is_shown_safely(record)
        after = page[-1].position
    assert not waiting
    assert not expected


def _record(line: str, marker: str) -> log_record_pb2.LogRecord:
    body, _ = cut_text(line, 16 * 1024)
    record = log_record_pb2.LogRecord(
        id=new_id(), category=log_record_pb2.LOG_CATEGORY_TERMINAL, body=body, request_id=marker
    )
    record.attributes.update({"line": body[:200], body[:100] or "empty": True})
    record.time.GetCurrentTime()
    return record


def _message(records: Sequence[log_record_pb2.LogRecord]) -> object:
    batch = log_batch_pb2.LogBatch(
        id=new_id(), service="bot_manager", instance="test-1", first_sequence=1, records=records
    )
    return a_message("logs.bot_manager", batch.SerializeToString())


def _is_shown_safely(record: Record) -> None:
    message = convert.record_to(record)
    shown = {"time": "2026-01-01T00:00:00Z", "body": message.body, "service": message.service}
    shown["attributes"] = dict(record.attributes)  # type: ignore[assignment]
    line = json_line(shown)
    assert line.isascii()
    assert line.removesuffix("\n").isprintable()
    shown_text = record_text(shown).plain.replace("\n", "")
    assert {unicodedata.category(character) for character in shown_text} & DRIVES == set()
