"""LogService: each method belongs to the part that does it."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from services.logging.servicers.exporting import Exporting
from services.logging.servicers.intake import Intake
from services.logging.servicers.searching import Searching
from services.logging.servicers.tailing import Tailing
from vivesphere.logging.v1 import log_service_pb2, log_service_pb2_grpc

if TYPE_CHECKING:
    import grpc.aio

    Context = grpc.aio.ServicerContext[Any, Any]


class LogServicer(log_service_pb2_grpc.LogServiceServicer):
    """Serves the contract."""

    def __init__(self, searching: Searching, exporting: Exporting, intake: Intake, tailing: Tailing) -> None:
        self._searching = searching
        self._exporting = exporting
        self._intake = intake
        self._tailing = tailing

    async def QueryLogs(
        self, request: log_service_pb2.QueryLogsRequest, context: "Context"
    ) -> log_service_pb2.QueryLogsResponse:
        """A page of records."""
        return await self._searching.query(request)

    async def GetLogHistogram(
        self, request: log_service_pb2.GetLogHistogramRequest, context: "Context"
    ) -> log_service_pb2.GetLogHistogramResponse:
        """Records by time."""
        return await self._searching.histogram(request)

    async def ExportLogs(
        self, request: log_service_pb2.ExportLogsRequest, context: "Context"
    ) -> AsyncIterator[log_service_pb2.ExportLogsResponse]:
        """All records that match, as a file."""
        async with aclosing(self._exporting.export(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def TailLogs(
        self, request: log_service_pb2.TailLogsRequest, context: "Context"
    ) -> AsyncIterator[log_service_pb2.TailLogsResponse]:
        """Records as they are stored."""
        async with aclosing(self._tailing.tail(request)) as items:
            async for item in items:
                yield item

    async def IngestLogBatch(
        self, request: log_service_pb2.IngestLogBatchRequest, context: "Context"
    ) -> log_service_pb2.IngestLogBatchResponse:
        """Store the good records, say what is wrong with the others."""
        return await self._intake.batch(request)

    async def IngestLogs(
        self, request_iterator: AsyncIterator[log_service_pb2.IngestLogsRequest], context: "Context"
    ) -> log_service_pb2.IngestLogsResponse:
        """The same for each message of a stream."""
        return await self._intake.stream(request_iterator)
