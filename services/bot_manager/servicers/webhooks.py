"""WebhookService."""

from typing import Any

import grpc.aio

from mesh.paging import PageTokens, page_size
from services.bot_manager.convert.common import time_field
from services.bot_manager.convert.webhooks import (
    from_delivery,
    from_webhook,
    to_changed_draft,
    to_delivery_state,
    to_draft,
)
from services.bot_manager.servicers.caller import actor, call_about, request_key
from services.bot_manager.webhooks.cases import Webhooks
from vivesphere.bot_manager.v1 import webhook_service_pb2 as pb
from vivesphere.bot_manager.v1 import webhook_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class WebhookServicer(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Converts, asks the use cases, converts."""

    def __init__(self, webhooks: Webhooks, page_secret: bytes) -> None:
        self._webhooks = webhooks
        self._tokens = PageTokens(page_secret, "bot_manager.webhooks")
        self._delivery_tokens = PageTokens(page_secret, "bot_manager.webhook_deliveries")

    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, context: Context
    ) -> pb.CreateWebhookResponse:
        """See the contract."""
        call_about("webhooks")
        key = request_key("CreateWebhook", request, request.request_id)
        webhook, secret = await self._webhooks.create(to_draft(request.webhook), actor(), key)
        _about(webhook.id)
        return pb.CreateWebhookResponse(
            webhook=from_webhook(webhook), secret=secret.reveal() if secret else ""
        )

    async def GetWebhook(self, request: pb.GetWebhookRequest, context: Context) -> pb.GetWebhookResponse:
        """See the contract."""
        return pb.GetWebhookResponse(
            webhook=from_webhook(await self._webhooks.get(_about(request.webhook_id)))
        )

    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, context: Context
    ) -> pb.ListWebhooksResponse:
        """See the contract."""
        call_about("webhooks")
        size, after = page_size(request.page_size), _after(self._tokens.decode(request.page_token, {}))
        found = await self._webhooks.list(after, size + 1)
        return pb.ListWebhooksResponse(
            webhooks=[from_webhook(one) for one in found[:size]],
            next_page_token=self._tokens.encode((found[size - 1].id,), {}) if len(found) > size else "",
        )

    async def UpdateWebhook(
        self, request: pb.UpdateWebhookRequest, context: Context
    ) -> pb.UpdateWebhookResponse:
        """See the contract."""
        webhook = await self._webhooks.update(
            _about(request.webhook_id),
            request.webhook.etag,
            lambda stored: to_changed_draft(stored, request.webhook, request.update_mask),
        )
        return pb.UpdateWebhookResponse(webhook=from_webhook(webhook))

    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, context: Context
    ) -> pb.DeleteWebhookResponse:
        """See the contract."""
        await self._webhooks.delete(_about(request.webhook_id), request.etag)
        return pb.DeleteWebhookResponse()

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: Context
    ) -> pb.RotateWebhookSecretResponse:
        """See the contract."""
        until = time_field(request, "previous_secret_expire_time")
        webhook, secret = await self._webhooks.rotate(_about(request.webhook_id), request.etag, until)
        return pb.RotateWebhookSecretResponse(webhook=from_webhook(webhook), secret=secret.reveal())

    async def TestWebhook(self, request: pb.TestWebhookRequest, context: Context) -> pb.TestWebhookResponse:
        """See the contract."""
        delivery = await self._webhooks.test(_about(request.webhook_id), actor())
        return pb.TestWebhookResponse(delivery=from_delivery(delivery))

    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, context: Context
    ) -> pb.ListWebhookDeliveriesResponse:
        """See the contract."""
        webhook_id, size = _about(request.webhook_id), page_size(request.page_size)
        bound = {"webhook": webhook_id, "state": request.state}
        after = _after(self._delivery_tokens.decode(request.page_token, bound))
        state = to_delivery_state(request.state)
        found = await self._webhooks.deliveries(webhook_id, state, after, size + 1)
        more = len(found) > size
        return pb.ListWebhookDeliveriesResponse(
            deliveries=[from_delivery(one) for one in found[:size]],
            next_page_token=self._delivery_tokens.encode((found[size - 1].id,), bound) if more else "",
        )

    async def ReplayWebhookDelivery(
        self, request: pb.ReplayWebhookDeliveryRequest, context: Context
    ) -> pb.ReplayWebhookDeliveryResponse:
        """See the contract."""
        delivery_id = request.delivery_id.lower()
        call_about(f"webhookDeliveries/{delivery_id}")
        return pb.ReplayWebhookDeliveryResponse(
            delivery=from_delivery(await self._webhooks.replay(delivery_id))
        )


def _about(webhook_id: str) -> str:
    webhook_id = webhook_id.lower()
    call_about(f"webhooks/{webhook_id}")
    return webhook_id


def _after(position: tuple[object, ...] | None) -> str:
    return "" if position is None else str(position[0])
