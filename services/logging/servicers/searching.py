"""Finding records: the part of LogService that only reads what is stored."""

from mesh.paging import PageTokens, page_size
from services.logging import convert
from services.logging.store.records import RecordStore, position_from, position_of
from vivesphere.logging.v1 import log_service_pb2

MAX_RECORDS_A_PAGE = 1000


class Searching:
    """Pages of records."""

    def __init__(self, store: RecordStore, tokens: PageTokens) -> None:
        self._store = store
        self._tokens = tokens

    async def query(self, request: log_service_pb2.QueryLogsRequest) -> log_service_pb2.QueryLogsResponse:
        """A page of records."""
        wanted = convert.filter_from(request)
        limit = page_size(request.page_size, maximum=MAX_RECORDS_A_PAGE)
        after = position_from(self._tokens.decode(request.page_token, wanted.digest()))
        found = await self._store.find(wanted, after, limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return log_service_pb2.QueryLogsResponse(
            records=[convert.record_to(record) for record in page],
            next_page_token=self._tokens.encode(position_of(page[-1]), wanted.digest()) if more else "",
        )
