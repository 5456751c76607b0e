"""Exports on real PostgreSQL: the whole of what there was when they began, in pieces, for as long as somebody reads."""

import csv
import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest
from google.protobuf import json_format

from cli.embedded import EmbeddedMesh
from mesh.clock import SystemClock
from mesh.database import Database
from mesh.errors import DeadlineExceeded, ResourceExhausted
from mesh.ids import new_id
from services.logging import convert
from services.logging.domain.records import Filter, Position, Record
from services.logging.servicers.exporting import CHUNK_BYTES, FIRST_PAGE, MAX_EXPORTS, Exporting
from services.logging.servicers.search_lanes import SearchLanes, SearchRules
from services.logging.store.search import Horizon, PostgresRecordSearch
from tests.integration.services.logging.rows import NOON, begun_batch, record, store
from vivesphere.logging.v1 import log_record_pb2, log_service_pb2

Chunks = AsyncIterator[log_service_pb2.ExportLogsResponse]


class CountingSearch:
    """The real search, and how many pages it was asked for."""

    def __init__(self, search: PostgresRecordSearch) -> None:
        self._search = search
        self.pages = 0

    async def find(
        self, wanted: Filter, after: Position | None, limit: int, *, seconds: float, horizon: Horizon | None
    ) -> list[Record]:
        self.pages += 1
        return await self._search.find(wanted, after, limit, seconds=seconds, horizon=horizon)

    async def horizon(self, *, seconds: float) -> Horizon:
        return await self._search.horizon(seconds=seconds)


@pytest.fixture
def search(database: Database) -> CountingSearch:
    return CountingSearch(PostgresRecordSearch(database))


@pytest.fixture
def exporting(search: CountingSearch) -> Exporting:
    return Exporting(search, SearchLanes(lambda: SearchRules(2, 10), SystemClock()), SystemClock())


def request(marker: str, **fields: object) -> log_service_pb2.ExportLogsRequest:
    return log_service_pb2.ExportLogsRequest(request_id=marker, **fields)  # type: ignore[arg-type]


async def bytes_of(chunks: Chunks) -> bytes:
    return b"".join([chunk.body.data async for chunk in chunks])


def ids(ndjson: bytes) -> list[str]:
    return [
        json_format.Parse(line, log_record_pb2.LogRecord()).id for line in ndjson.decode("ascii").splitlines()
    ]


async def test_the_chunks_are_the_file(database: Database, exporting: Exporting) -> None:
    """Every record once, in order, over many pages; no chunk is larger than promised, and each says what it is."""
    marker = new_id()
    rows = [
        record(NOON + timedelta(seconds=n), request_id=marker, body="é" * (n % 7 * 9_000)) for n in range(250)
    ]
    await store(database, rows)
    chunks = [chunk.body async for chunk in exporting.export(request(marker))]
    assert ids(b"".join(chunk.data for chunk in chunks)) == [row.id for row in reversed(rows)]
    assert {chunk.content_type for chunk in chunks} == {"application/x-ndjson"}
    assert max(len(chunk.data) for chunk in chunks) <= CHUNK_BYTES
    assert len(chunks) > 10
    line = next(
        line for line in b"".join(chunk.data for chunk in chunks).splitlines() if rows[3].id.encode() in line
    )
    assert json_format.Parse(line, log_record_pb2.LogRecord()) == convert.record_to(rows[3])


async def test_csv_has_a_header_and_a_limit_holds(database: Database, exporting: Exporting) -> None:
    """Also for an export without records, and across pages."""
    marker = new_id()
    csv_format = log_service_pb2.LOG_EXPORT_FORMAT_CSV
    nothing = (await bytes_of(exporting.export(request(marker, format=csv_format)))).decode()
    assert nothing.startswith("id,time,observed_time,category")
    assert nothing.count("\r\n") == 1
    await store(database, [record(NOON + timedelta(seconds=n), request_id=marker) for n in range(150)])
    for limit in (1, FIRST_PAGE, 120, 150, 151, 0):
        text = (
            await bytes_of(
                exporting.export(
                    request(
                        marker, format=csv_format, limit=limit, order=log_record_pb2.LOG_ORDER_OLDEST_FIRST
                    )
                )
            )
        ).decode()
        times = [row["time"] for row in csv.DictReader(io.StringIO(text))]
        assert times == sorted(times)
        assert len(times) == min(limit or 150, 150)


async def test_an_export_sees_what_was_stored_when_it_began(database: Database, exporting: Exporting) -> None:
    """Not what is stored meanwhile, whatever its time is, nor what had begun to be stored and was not there yet."""
    marker = new_id()
    rows = [record(NOON + timedelta(seconds=n), request_id=marker) for n in range(FIRST_PAGE * 2)]
    middle = NOON + timedelta(seconds=FIRST_PAGE, milliseconds=500)
    await store(database, rows)
    oldest_first = request(marker, order=log_record_pb2.LOG_ORDER_OLDEST_FIRST)
    async with aclosing(exporting.export(oldest_first)) as chunks:
        async with begun_batch(database, [record(middle, request_id=marker) for _ in range(3)]):
            data = (await anext(chunks)).body.data + (await anext(chunks)).body.data
        assert 0 < len(ids(data)) < len(rows)
        await store(database, [record(middle, request_id=marker) for _ in range(3)])
        data += await bytes_of(chunks)
    assert ids(data) == [row.id for row in rows]
    assert len(ids(await bytes_of(exporting.export(request(marker))))) == len(rows) + 6


async def test_nothing_is_read_that_the_client_does_not_take(
    database: Database, search: CountingSearch, exporting: Exporting
) -> None:
    """Memory is bounded by what is under way, not by the export."""
    marker = new_id()
    await store(
        database,
        [record(NOON + timedelta(seconds=n), request_id=marker) for n in range(FIRST_PAGE * 3)],
    )
    async with aclosing(exporting.export(request(marker))) as chunks:
        await anext(chunks)
        await anext(chunks)
        assert search.pages == 1


async def test_exports_are_bounded_and_one_that_ends_makes_room(
    database: Database, exporting: Exporting
) -> None:
    """Whoever hangs up in the middle is no longer counted."""
    marker = new_id()
    await store(database, [record(request_id=marker) for _ in range(3)])
    open_ones = [exporting.export(request(marker)) for _ in range(MAX_EXPORTS)]
    for export in open_ones:
        await anext(export)
    with pytest.raises(ResourceExhausted) as refused:
        await anext(exporting.export(request(marker)))
    assert (refused.value.reason, refused.value.retry_after is not None) == ("OVERLOADED", True)
    await open_ones[0].aclose()
    assert len(ids(await bytes_of(exporting.export(request(marker))))) == 3
    for export in open_ones:
        await export.aclose()


async def test_an_export_that_cannot_begin_is_refused_before_its_first_chunk(
    engines: EmbeddedMesh, search: CountingSearch
) -> None:
    """A client has to be told; once a file has begun, the door can only break it off."""
    impatient = Exporting(search, SearchLanes(lambda: SearchRules(1, 0.3), SystemClock()), SystemClock())
    with engines.admin.connect() as blocker:
        blocker.execute("LOCK TABLE logging.records IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DeadlineExceeded):
            await anext(impatient.export(request(new_id())))
        blocker.rollback()


async def test_hostile_records_are_whole_lines(database: Database, exporting: Exporting) -> None:
    """A body can neither end its line nor speak to a terminal, in either form, and NDJSON gives back what was stored."""
    marker = new_id()
    body = '=cmd()|"x", \r\nfake\x1b[31m\x7f\u2028\u202e\x85 {"id": 1}'
    row = replace(record(request_id=marker, actor="+1"), body=body, attributes={"a\nb": "\x1b]0;x\x07"})
    await store(database, [row])
    lines = await bytes_of(exporting.export(request(marker)))
    assert lines.count(b"\n") == 1
    assert json_format.Parse(lines, log_record_pb2.LogRecord()) == convert.record_to(row)
    table = await bytes_of(exporting.export(request(marker, format=log_service_pb2.LOG_EXPORT_FORMAT_CSV)))
    assert not set(table.decode()) & set("\x00\x1b\x7f\x07\u2028\u202e\x85")
    cells = list(csv.DictReader(io.StringIO(table.decode(), newline="")))
    assert len(cells) == 1
    assert cells[0]["body"].startswith("'=cmd()")
    assert cells[0]["actor"] == "'+1"
