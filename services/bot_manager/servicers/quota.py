"""QuotaService."""

from typing import Any

import grpc.aio

from services.bot_manager.convert.quota import from_quota
from services.bot_manager.domain.quota import Quotas
from services.bot_manager.servicers.caller import about_bot
from vivesphere.bot_manager.v1 import quota_service_pb2 as pb
from vivesphere.bot_manager.v1 import quota_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class QuotaServicer(quota_service_pb2_grpc.QuotaServiceServicer):
    """Reads what is known."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    async def GetQuota(self, request: pb.GetQuotaRequest, context: Context) -> pb.GetQuotaResponse:
        """See the contract."""
        return pb.GetQuotaResponse(quota=from_quota(await self._quotas.of(about_bot(request.bot_id))))
