"""AuditService: convert, call, convert."""

from typing import TYPE_CHECKING, Any

from mesh.errors import NotFound
from mesh.paging import PageTokens, page_size
from services.logging import convert
from services.logging.auditing.checkpointing import Checkpointer
from services.logging.auditing.erasing import Eraser
from services.logging.auditing.proving import Prover
from services.logging.domain.chain import CHAIN
from services.logging.store.audit import AuditStore
from services.logging.store.statements import Place, StatementStore
from vivesphere.logging.v1 import audit_service_pb2, audit_service_pb2_grpc

if TYPE_CHECKING:
    import grpc.aio

    Context = grpc.aio.ServicerContext[Any, Any]

MAX_A_PAGE = 1_000


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """AuditService."""

    def __init__(
        self,
        events: AuditStore,
        statements: StatementStore,
        checkpointer: Checkpointer,
        prover: Prover,
        eraser: Eraser,
        page_secret: bytes,
    ) -> None:
        self._events = events
        self._statements = statements
        self._checkpointer = checkpointer
        self._prover = prover
        self._eraser = eraser
        self._event_tokens = PageTokens(page_secret, "logging.audit_events")
        self._checkpoint_tokens = PageTokens(page_secret, "logging.audit_checkpoints")

    async def ListAuditEvents(
        self, request: audit_service_pb2.ListAuditEventsRequest, context: "Context"
    ) -> audit_service_pb2.ListAuditEventsResponse:
        wanted = convert.audit_filter_from(request)
        limit = page_size(request.page_size, maximum=MAX_A_PAGE)
        position = self._event_tokens.decode(request.page_token, wanted.digest())
        found = await self._events.find(wanted, int(str(position[0])) if position else None, limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return audit_service_pb2.ListAuditEventsResponse(
            events=[convert.audit_event_to(event) for event in page],
            next_page_token=self._event_tokens.encode((page[-1].sequence,), wanted.digest()) if more else "",
        )

    async def VerifyAuditChain(
        self, request: audit_service_pb2.VerifyAuditChainRequest, context: "Context"
    ) -> audit_service_pb2.VerifyAuditChainResponse:
        question = convert.question_from(request)
        return convert.proof_to(await self._prover.prove(question), question.chain)

    async def GetAuditCheckpoint(
        self, request: audit_service_pb2.GetAuditCheckpointRequest, context: "Context"
    ) -> audit_service_pb2.GetAuditCheckpointResponse:
        signed = await self._checkpointer.sign_end(request.chain or CHAIN)
        if signed is None:
            raise _no_chain()
        return audit_service_pb2.GetAuditCheckpointResponse(checkpoint=convert.checkpoint_to(signed))

    async def ListAuditCheckpoints(
        self, request: audit_service_pb2.ListAuditCheckpointsRequest, context: "Context"
    ) -> audit_service_pb2.ListAuditCheckpointsResponse:
        chain = request.chain or CHAIN
        if chain != CHAIN and await self._events.end(chain) is None:
            raise _no_chain()
        limit = page_size(request.page_size, maximum=MAX_A_PAGE)
        shape = {"chain": chain}
        after = _place(self._checkpoint_tokens.decode(request.page_token, shape))
        found = await self._statements.checkpoints(chain, after, limit + 1)
        page = found[:limit]
        token = ""
        if len(found) > limit:
            last = page[-1].statement
            token = self._checkpoint_tokens.encode((last.sequence, last.hash.hex()), shape)
        return audit_service_pb2.ListAuditCheckpointsResponse(
            checkpoints=[convert.checkpoint_to(item) for item in page], next_page_token=token
        )

    async def EraseAuditActor(
        self, request: audit_service_pb2.EraseAuditActorRequest, context: "Context"
    ) -> audit_service_pb2.EraseAuditActorResponse:
        erased = await self._eraser.erase(request.actor.lower())
        return audit_service_pb2.EraseAuditActorResponse(
            erased_event_count=erased.events, erased_record_count=erased.records
        )


def _no_chain() -> NotFound:
    return NotFound("AUDIT_CHAIN_NOT_FOUND", "there is no audit chain of this name")


def _place(token: tuple[object, ...] | None) -> Place | None:
    return None if token is None else (int(str(token[0])), bytes.fromhex(str(token[1])))
