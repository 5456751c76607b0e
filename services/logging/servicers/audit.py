"""AuditService: convert, call, convert."""

from typing import TYPE_CHECKING, Any

from mesh.paging import PageTokens, page_size
from services.logging import convert
from services.logging.store.audit import AuditStore
from vivesphere.logging.v1 import audit_service_pb2, audit_service_pb2_grpc

if TYPE_CHECKING:
    import grpc.aio

    Context = grpc.aio.ServicerContext[Any, Any]


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
