"""The methods of logging: convert, call, convert."""

from typing import TYPE_CHECKING, Any

from mesh.clock import Clock
from mesh.context import current_call
from mesh.database import Database
from mesh.errors import InvalidArgument
from mesh.ids import new_id
from mesh.interceptors.stages import validate
from mesh.paging import PageTokens, page_size
from services.logging import convert
from services.logging.domain.records import CONSOLE, Record, Rejected
from services.logging.store.audit import AuditStore
from services.logging.store.records import RecordStore, position_from, position_of
from vivesphere.logging.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    log_record_pb2,
    log_service_pb2,
    log_service_pb2_grpc,
)

if TYPE_CHECKING:
    import grpc.aio

    Context = grpc.aio.ServicerContext[Any, Any]

MAX_RECORDS_A_PAGE = 1000
CONSOLE_SERVICE = "console"


class LogServicer(log_service_pb2_grpc.LogServiceServicer):
    """LogService."""

    def __init__(self, database: Database, store: RecordStore, tokens: PageTokens, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._tokens = tokens
        self._clock = clock

    async def QueryLogs(
        self, request: log_service_pb2.QueryLogsRequest, context: "Context"
    ) -> log_service_pb2.QueryLogsResponse:
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

    async def IngestLogBatch(
        self, request: log_service_pb2.IngestLogBatchRequest, context: "Context"
    ) -> log_service_pb2.IngestLogBatchResponse:
        accepted: list[Record] = []
        rejected: list[Rejected] = []
        for index, message in enumerate(request.records):
            verdict = self._judge(index, message)
            if isinstance(verdict, Rejected):
                rejected.append(verdict)
            else:
                accepted.append(verdict)
        if accepted:
            async with self._database.transaction() as connection:
                await self._store.add(connection, accepted)
        return log_service_pb2.IngestLogBatchResponse(
            accepted_count=len(accepted),
            rejected=[
                log_service_pb2.RejectedLogRecord(
                    index=item.index, reason=item.reason, field=item.field, message=item.message
                )
                for item in rejected
            ],
        )

    def _judge(self, index: int, message: log_record_pb2.LogRecord) -> Record | Rejected:
        """What a user sends is of the console, and by that user, whatever it says of itself."""
        call = current_call()
        if message.category != CONSOLE:
            return Rejected(
                index, "LOG_CATEGORY_NOT_ALLOWED", "category", "users may send the category CONSOLE only"
            )
        message.ClearField("observed_time")
        message.service, message.actor = CONSOLE_SERVICE, call.actor if call else ""
        try:
            validate(message)
        except InvalidArgument as error:
            first = error.violations[0]
            return Rejected(index, error.reason, first.field, first.description)
        return convert.record_from(message, self._clock.now(), id=new_id())


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """AuditService."""

    def __init__(self, store: AuditStore, tokens: PageTokens) -> None:
        self._store = store
        self._tokens = tokens

    async def ListAuditEvents(
        self, request: audit_service_pb2.ListAuditEventsRequest, context: "Context"
    ) -> audit_service_pb2.ListAuditEventsResponse:
        wanted = convert.audit_filter_from(request)
        limit = page_size(request.page_size)
        position = self._tokens.decode(request.page_token, wanted.digest())
        found = await self._store.find(wanted, int(str(position[0])) if position else None, limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return audit_service_pb2.ListAuditEventsResponse(
            events=[convert.audit_event_to(event) for event in page],
            next_page_token=self._tokens.encode((page[-1].sequence,), wanted.digest()) if more else "",
        )
