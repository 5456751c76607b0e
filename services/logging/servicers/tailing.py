"""Following records live: the part of LogService that streams.

Where a stream goes on is in each item's token, in one of three forms: behind a record of the beginning that was asked for, behind a
record that came live, or behind everything up to a batch. A token says nothing of a filter, so whoever resumes may change it.

An item without record and gap says that the stream stands and that nothing matched: the first one when it goes live, the others when
it was quiet for a few seconds, so that nobody on the way takes it for dead.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime

from mesh.errors import InvalidArgument
from mesh.paging import PageTokens
from services.logging import convert
from services.logging.domain.following import Gap, Place, Row
from services.logging.domain.records import Filter, Position, Record
from services.logging.store.following import StoredBatches
from services.logging.store.search import Horizon, RecordSearch, position_of
from services.logging.tailing.hub import Hub, forgotten
from vivesphere.logging.v1 import log_service_pb2

Response = log_service_pb2.TailLogsResponse
RECORDS_A_READ = 500
SEARCH_SECONDS = 10.0
_BEGINNING = "beginning"


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a stream begins: live behind `place`; before that, what matches of what was stored by that `moment` behind `position`."""

    place: Place
    moment: Horizon | None = None
    position: Position | None = None


class Tailing:
    """Streams of records."""

    def __init__(self, hub: Hub, store: StoredBatches, search: RecordSearch, tokens: PageTokens) -> None:
        self._hub = hub
        self._store = store
        self._search = search
        self._tokens = tokens

    async def tail(self, request: log_service_pb2.TailLogsRequest) -> AsyncGenerator[Response, None]:
        """The newest that match or what was missed, then what comes. Raises InvalidArgument, ResourceExhausted, Unavailable."""
        wanted = convert.tail_filter_from(request)
        with self._hub.opening():
            start = await self._start(request.resume_token)
            count = 0 if request.resume_token else request.initial_count
            async with aclosing(self._beginning(wanted, start, count)) as records:
                async for item in records:
                    yield item
            yield Response(resume_token=self._token(start.place))
            async with aclosing(self._hub.follow(wanted, start.place)) as events:
                async for event in events:
                    if isinstance(event, Row):
                        yield self._live(event)
                    elif isinstance(event, Gap):
                        yield Response(gap=convert.gap_to(event), resume_token=self._token(event.place))
                    else:
                        yield Response(resume_token=self._token(event.place))

    async def _beginning(self, wanted: Filter, start: _Start, count: int) -> AsyncGenerator[Response, None]:
        """Oldest first: the newest `count`, or what a former stream had not yet shown of them and all that is newer."""
        moment, position = start.moment, start.position
        if moment is None:
            return
        if count:
            for record in reversed(await self._find(wanted, None, count, moment)):
                yield self._of_beginning(record, moment)
        forward = replace(wanted, oldest_first=True)
        while position is not None:
            records = await self._find(forward, position, RECORDS_A_READ, moment)
            for record in records:
                yield self._of_beginning(record, moment)
            position = records[-1].position if len(records) == RECORDS_A_READ else None

    async def _find(
        self, wanted: Filter, after: Position | None, limit: int, moment: Horizon
    ) -> list[Record]:
        return await self._search.find(wanted, after, limit, seconds=SEARCH_SECONDS, horizon=moment)

    async def _start(self, token: str) -> _Start:
        if not token:
            moment = await self._search.horizon(seconds=SEARCH_SECONDS)
            return _Start(Place(moment.number), moment)
        start = self._resume(token)
        if not start.place.is_known(await self._store.head()):
            raise forgotten()
        return start

    def _resume(self, token: str) -> _Start:
        try:
            fields = self._tokens.decode(token, {})
        except InvalidArgument:
            raise forgotten() from None
        # Authentic, so it has one of the forms that are made below.
        match fields:
            case (str(), int(number), int(begun), str(time), str(id), int(category)):
                position = datetime.fromisoformat(time), id, category
                return _Start(Place(number), Horizon(number, begun), position)
            case (int(number), str(time), int(category), str(id)):
                return _Start(Place(number, (datetime.fromisoformat(time), category, id)))
            case (int(number),):
                return _Start(Place(number))
            case _:
                raise forgotten()

    def _token(self, place: Place) -> str:
        if place.key is None:
            return self._tokens.encode((place.number,), {})
        time, category, id = place.key
        return self._tokens.encode((place.number, time.isoformat(), category, id), {})

    def _of_beginning(self, record: Record, moment: Horizon) -> Response:
        behind = (_BEGINNING, moment.number, moment.begun, *position_of(record))
        return Response(record=convert.record_to(record), resume_token=self._tokens.encode(behind, {}))

    def _live(self, row: Row) -> Response:
        if not isinstance(row.told, Response):
            row.told = Response(record=convert.record_to(row.record), resume_token=self._token(row.place))
        return row.told
