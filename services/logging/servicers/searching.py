"""Finding and counting records: the part of LogService that only reads what is stored, a lane for each search."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate

from mesh.clock import Clock
from mesh.errors import InvalidArgument
from mesh.paging import PageTokens, page_size
from services.logging import convert
from services.logging.domain.histogram import DEFAULT_RANGE, Buckets, Grouping, buckets
from services.logging.servicers.search_lanes import SearchLanes
from services.logging.store.histogram import RecordCounter
from services.logging.store.search import RecordSearch, position_from, position_of
from vivesphere.logging.v1 import log_record_pb2, log_service_pb2

MAX_RECORDS_A_PAGE = 1000
MAX_PAGE_BYTES = 3 * 1024 * 1024
"""Of the 4 MiB that a message may have on its way; a record has 64 KiB of body and more of attributes."""


class Searching:
    """Pages of records, and how many there are when."""

    def __init__(
        self,
        search: RecordSearch,
        counter: RecordCounter,
        lanes: SearchLanes,
        tokens: PageTokens,
        clock: Clock,
    ) -> None:
        self._search = search
        self._counter = counter
        self._lanes = lanes
        self._tokens = tokens
        self._clock = clock

    async def query(self, request: log_service_pb2.QueryLogsRequest) -> log_service_pb2.QueryLogsResponse:
        """A page of records."""
        wanted = convert.filter_from(request, request.order)
        limit = page_size(request.page_size, maximum=MAX_RECORDS_A_PAGE)
        after = position_from(self._tokens.decode(request.page_token, wanted.digest()))
        until_now = replace(wanted, end_time=wanted.end_time or self._clock.now())
        async with self._lanes.lane() as seconds:
            found = await self._search.find(until_now, after, limit + 1, seconds=seconds, horizon=None)
        records = _fitting([convert.record_to(record) for record in found[:limit]])
        more = len(found) > len(records)
        last = found[len(records) - 1] if more else None
        return log_service_pb2.QueryLogsResponse(
            records=records,
            next_page_token=self._tokens.encode(position_of(last), wanted.digest()) if last else "",
        )

    async def histogram(
        self, request: log_service_pb2.GetLogHistogramRequest
    ) -> log_service_pb2.GetLogHistogramResponse:
        """Records by time."""
        wanted = convert.filter_from(request)
        asked = self._buckets(wanted.start_time, wanted.end_time, _interval(request))
        async with self._lanes.lane() as seconds:
            tallies = await self._counter.count(wanted, asked, Grouping(request.group_by), seconds=seconds)
        return convert.histogram_to(asked, Grouping(request.group_by), tallies)

    def _buckets(self, start: datetime | None, end: datetime | None, interval: int | None) -> Buckets:
        end = end or self._clock.now()
        try:
            start = start or end - DEFAULT_RANGE
        except OverflowError:
            start = datetime.min.replace(tzinfo=UTC)
        return buckets(start, end, interval)


def _fitting(records: list[log_record_pb2.LogRecord]) -> list[log_record_pb2.LogRecord]:
    """As many of them as a message may hold, at least one: a page may be shorter than was asked for."""
    sizes = accumulate(record.ByteSize() for record in records)
    number = sum(1 for size in sizes if size <= MAX_PAGE_BYTES)
    return records[: max(number, 1)]


def _interval(request: log_service_pb2.GetLogHistogramRequest) -> int | None:
    if not request.HasField("interval"):
        return None
    if request.interval.nanos:
        raise InvalidArgument("INVALID_FIELD", "interval is no whole number of seconds", field="interval")
    return request.interval.seconds
