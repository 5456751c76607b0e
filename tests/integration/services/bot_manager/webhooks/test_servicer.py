"""WebhookService over the real chain."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.errors import Aborted, InvalidArgument, MeshError, NotFound, PermissionDenied
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.bot_manager.servicers.webhooks import WebhookServicer
from tests.fakes.mesh import serving
from tests.integration.services.bot_manager.webhooks.conftest import Rig
from vivesphere.bot_manager.v1 import event_pb2, webhook_pb2, webhook_service_pb2_grpc
from vivesphere.bot_manager.v1 import webhook_service_pb2 as pb

ROLES = {"admin": frozenset({"*"}), "viewer": frozenset({"posts.read"})}


@dataclass
class Door:
    """A stub and tokens."""

    stub: Any
    token: str
    viewer: str

    async def call(self, method: str, request: Any, token: str | None = None) -> Any:
        """Raises the MeshError that the service raised."""
        metadata = (("authorization", f"Bearer {token or self.token}"),)
        try:
            return await getattr(self.stub, method)(request, timeout=10, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None


@pytest.fixture
async def door(rig: Rig, tmp_path: Path) -> AsyncIterator[Door]:
    servicer = WebhookServicer(rig.webhooks, b"page secret of the test")
    added = [(webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server, servicer)]
    names = ["vivesphere.bot_manager.v1.WebhookService"]
    async with (
        serving(tmp_path, "bot_manager", names, added, roles=ROLES) as server,
        server.channel("gateway", "bot_manager") as channel,
    ):
        stub = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        yield Door(stub, server.issuer.token("admin"), server.issuer.token("viewer"))


async def test_a_secret_is_shown_once(door: Door, rig: Rig) -> None:
    """When it is made and when it is changed, to whoever did it; a repeat of the call shows the webhook and not the secret."""
    given = webhook_pb2.Webhook(url=rig.receiver.url, types=[event_pb2.EVENT_TYPE_POST_STATE_CHANGED])
    request = pb.CreateWebhookRequest(webhook=given, request_id=new_id())
    first = await door.call("CreateWebhook", request)
    again = await door.call("CreateWebhook", request)
    assert first.secret.startswith("whsec_")
    assert (again.webhook.id, again.secret) == (first.webhook.id, "")
    assert (first.webhook.display_name, first.webhook.state) == (
        "127.0.0.1",
        webhook_pb2.WEBHOOK_STATE_ACTIVE,
    )
    found = await door.call("GetWebhook", pb.GetWebhookRequest(webhook_id=first.webhook.id))
    assert found.webhook == first.webhook
    rotate = pb.RotateWebhookSecretRequest(webhook_id=first.webhook.id, etag=first.webhook.etag)
    rotated = await door.call("RotateWebhookSecret", rotate)
    assert rotated.secret not in ("", first.secret)
    assert rotated.webhook.HasField("previous_secret_expire_time")
    with pytest.raises(Aborted):
        await door.call("RotateWebhookSecret", rotate)


async def test_a_webhook_is_changed_listed_and_deleted(door: Door, rig: Rig) -> None:
    """As every other resource."""
    made = []
    for name in ("one", "two", "three"):
        given = webhook_pb2.Webhook(url=rig.receiver.url, display_name=name)
        made.append((await door.call("CreateWebhook", pb.CreateWebhookRequest(webhook=given))).webhook)
    page = await door.call("ListWebhooks", pb.ListWebhooksRequest(page_size=2))
    rest = await door.call(
        "ListWebhooks", pb.ListWebhooksRequest(page_size=2, page_token=page.next_page_token)
    )
    names = [one.display_name for one in (*page.webhooks, *rest.webhooks)]
    assert (names, rest.next_page_token) == (["three", "two", "one"], "")
    change = webhook_pb2.Webhook(state=webhook_pb2.WEBHOOK_STATE_PAUSED, etag=made[0].etag)
    request = pb.UpdateWebhookRequest(
        webhook_id=made[0].id, webhook=change, update_mask=FieldMask(paths=["state"])
    )
    changed = (await door.call("UpdateWebhook", request)).webhook
    assert (changed.state, changed.display_name) == (webhook_pb2.WEBHOOK_STATE_PAUSED, "one")
    with pytest.raises(Aborted):
        await door.call("UpdateWebhook", request)
    await door.call("DeleteWebhook", pb.DeleteWebhookRequest(webhook_id=made[0].id, etag=changed.etag))
    with pytest.raises(NotFound):
        await door.call("GetWebhook", pb.GetWebhookRequest(webhook_id=made[0].id))


async def test_the_log_shows_each_delivery(door: Door, rig: Rig) -> None:
    """Why the receiver did not get it, in words, by pages and by state; and it can be sent again."""
    webhook, _ = await rig.webhook()
    rig.receiver.answers = [500]
    tested = (await door.call("TestWebhook", pb.TestWebhookRequest(webhook_id=webhook.id))).delivery
    assert tested.state == webhook_pb2.WEBHOOK_DELIVERY_STATE_FAILED
    assert tested.attempts[0].error == "it answered 500"
    request = pb.ReplayWebhookDeliveryRequest(delivery_id=tested.id)
    replayed = (await door.call("ReplayWebhookDelivery", request)).delivery
    await rig.settled(webhook, 2)
    listing = pb.ListWebhookDeliveriesRequest(webhook_id=webhook.id, page_size=1)
    first = await door.call("ListWebhookDeliveries", listing)
    listing.page_token = first.next_page_token
    second = await door.call("ListWebhookDeliveries", listing)
    assert [one.id for one in (*first.deliveries, *second.deliveries)] == [replayed.id, tested.id]
    assert first.deliveries[0].event == tested.event
    failed = pb.ListWebhookDeliveriesRequest(
        webhook_id=webhook.id, state=webhook_pb2.WEBHOOK_DELIVERY_STATE_FAILED
    )
    assert [one.id for one in (await door.call("ListWebhookDeliveries", failed)).deliveries] == [tested.id]


async def test_what_cannot_be_done_says_why(door: Door, rig: Rig) -> None:
    """A URL that is not allowed, a type that cannot be chosen, a caller who may not, what is not there."""
    url = webhook_pb2.Webhook(url="ftp://example.org/")
    cannot = webhook_pb2.Webhook(url=rig.receiver.url, types=[event_pb2.EVENT_TYPE_WEBHOOK_TEST])
    for given, kind, token in (
        (url, InvalidArgument, door.token),
        (cannot, InvalidArgument, door.token),
        (webhook_pb2.Webhook(url=rig.receiver.url), PermissionDenied, door.viewer),
    ):
        with pytest.raises(kind):
            await door.call("CreateWebhook", pb.CreateWebhookRequest(webhook=given), token)
    for method, request in (
        ("GetWebhook", pb.GetWebhookRequest(webhook_id=new_id())),
        ("TestWebhook", pb.TestWebhookRequest(webhook_id=new_id())),
        ("ListWebhookDeliveries", pb.ListWebhookDeliveriesRequest(webhook_id=new_id())),
        ("ReplayWebhookDelivery", pb.ReplayWebhookDeliveryRequest(delivery_id=new_id())),
    ):
        with pytest.raises(MeshError) as refused:
            await door.call(method, request)
        assert refused.value.reason in ("WEBHOOK_NOT_FOUND", "WEBHOOK_DELIVERY_NOT_FOUND")
