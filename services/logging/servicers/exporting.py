"""Records as a file: page after page as fast as the client reads, as the store was when the export began.

No transaction lasts longer than a page, and between pages an export holds neither a lane nor a connection, so a client that reads slowly
costs nobody anything. Records are told from those stored later by their batch (`Horizon`). In memory are one page and one chunk.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Final

from google.api import httpbody_pb2

from mesh.clock import Clock
from mesh.errors import ResourceExhausted
from services.logging import convert, export_forms
from services.logging.domain.records import Filter, Record
from services.logging.servicers.search_lanes import SearchLanes
from services.logging.store.search import RecordSearch
from vivesphere.logging.v1 import log_service_pb2

CHUNK_BYTES: Final = 256 * 1024
MAX_EXPORTS: Final = 8
"""Exports that one process makes at once; their pages share the lanes with searches."""
FIRST_PAGE: Final = 100
MAX_PAGE: Final = 500
PAGE_BYTES: Final = 1024 * 1024
"""Pages are made as long as records of the size met so far fill this, between FIRST_PAGE and MAX_PAGE."""
RETRY_AFTER: Final = timedelta(seconds=10)


class Exporting:
    """Streams of records."""

    def __init__(self, search: RecordSearch, lanes: SearchLanes, clock: Clock) -> None:
        self._search = search
        self._lanes = lanes
        self._clock = clock
        self._open = 0

    async def export(
        self, request: log_service_pb2.ExportLogsRequest
    ) -> AsyncGenerator[log_service_pb2.ExportLogsResponse, None]:
        """The chunks of the file. The first may be empty; it says what the file is."""
        if self._open >= MAX_EXPORTS:
            raise ResourceExhausted("OVERLOADED", "too many exports at once", retry_after=RETRY_AFTER)
        self._open += 1
        try:
            async with aclosing(self._chunks(request)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._open -= 1

    async def _chunks(
        self, request: log_service_pb2.ExportLogsRequest
    ) -> AsyncGenerator[log_service_pb2.ExportLogsResponse, None]:
        is_csv = request.format == log_service_pb2.LOG_EXPORT_FORMAT_CSV
        content_type = export_forms.CSV if is_csv else export_forms.NDJSON
        render = export_forms.csv_rows if is_csv else export_forms.ndjson
        wanted = convert.filter_from(request, request.order)
        pages = self._pages(replace(wanted, end_time=wanted.end_time or self._clock.now()), request.limit)
        async with aclosing(pages):
            # What refuses or ends the export now can still be told; later it can only break the stream.
            page = await anext(pages, None)
            yield _chunk(content_type, export_forms.csv_header() if is_csv else b"")
            while page is not None:
                for piece in _pieces(page, render):
                    yield _chunk(content_type, piece)
                page = await anext(pages, None)

    async def _pages(self, wanted: Filter, limit: int) -> AsyncGenerator[list[Record], None]:
        """Everything that matches, or `limit` of it, in order."""
        async with self._lanes.lane() as seconds:
            horizon = await self._search.horizon(seconds=seconds)
        after, size, left = None, FIRST_PAGE, limit or None
        while left != 0:
            wish = size if left is None else min(size, left)
            async with self._lanes.lane(begun=True) as seconds:
                page = await self._search.find(wanted, after, wish, seconds=seconds, horizon=horizon)
            if page:
                yield page
            if len(page) < wish:
                return
            left = None if left is None else left - len(page)
            after, size = page[-1].position, _next_size(page)


def _pieces(page: list[Record], render: export_forms.Render) -> Iterator[bytes]:
    """The page in chunks of whole records, as many as fit; a record that is longer than a chunk is cut."""
    waiting = bytearray()
    for record in page:
        line = render([record])
        if waiting and len(waiting) + len(line) > CHUNK_BYTES:
            yield bytes(waiting)
            waiting.clear()
        waiting += line
        while len(waiting) > CHUNK_BYTES:
            yield bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
    if waiting:
        yield bytes(waiting)


def _next_size(page: list[Record]) -> int:
    characters = sum(len(record.body) + len(str(record.attributes)) for record in page) + len(page)
    return max(FIRST_PAGE, min(MAX_PAGE, PAGE_BYTES * len(page) // characters))


def _chunk(content_type: str, data: bytes) -> log_service_pb2.ExportLogsResponse:
    return log_service_pb2.ExportLogsResponse(
        body=httpbody_pb2.HttpBody(content_type=content_type, data=data)
    )
