"""Webhooks and their deliveries."""

from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import Parse

from services.bot_manager.convert.common import from_time
from services.bot_manager.convert.events import to_types
from services.bot_manager.convert.masks import merge, paths_of
from services.bot_manager.domain.versions import etag_of
from services.bot_manager.domain.webhooks import Attempt, Delivery, DeliveryState, Webhook, WebhookState
from services.bot_manager.webhooks.cases import WebhookDraft
from vivesphere.bot_manager.v1 import event_pb2, webhook_pb2

CHANGEABLE: Final = ("display_name", "url", "types", "bot_ids", "state")
_STATES: Final = {
    webhook_pb2.WEBHOOK_STATE_ACTIVE: WebhookState.ACTIVE,
    webhook_pb2.WEBHOOK_STATE_PAUSED: WebhookState.PAUSED,
}


def to_draft(webhook: webhook_pb2.Webhook) -> WebhookDraft:
    """A webhook as somebody described it."""
    return WebhookDraft(
        url=webhook.url,
        display_name=webhook.display_name,
        types=to_types(webhook.types),
        bot_ids=frozenset(one.lower() for one in webhook.bot_ids),
        state=_STATES.get(webhook.state),
    )


def to_changed_draft(stored: Webhook, given: webhook_pb2.Webhook, mask: FieldMask) -> WebhookDraft:
    """What a webhook shall be after an update. Raises InvalidArgument (UNKNOWN_FIELD)."""
    return to_draft(merge(from_webhook(stored), given, paths_of(given, mask, CHANGEABLE)))


def to_delivery_state(state: webhook_pb2.WebhookDeliveryState.ValueType) -> DeliveryState | None:
    """The state of a filter; None for all."""
    if state == webhook_pb2.WEBHOOK_DELIVERY_STATE_UNSPECIFIED:
        return None
    name = webhook_pb2.WebhookDeliveryState.Name(state)
    return DeliveryState(name.removeprefix("WEBHOOK_DELIVERY_STATE_"))


def from_webhook(webhook: Webhook) -> webhook_pb2.Webhook:
    """The contract's Webhook."""
    return webhook_pb2.Webhook(
        id=webhook.id,
        display_name=webhook.display_name,
        url=webhook.url,
        types=sorted(event_pb2.EventType.Value(f"EVENT_TYPE_{one}") for one in webhook.types),
        bot_ids=sorted(webhook.bot_ids),
        state=webhook_pb2.WebhookState.Value(f"WEBHOOK_STATE_{webhook.state}"),
        state_message=webhook.state_message,
        failing_since_time=from_time(webhook.failing_since_time),
        last_success_time=from_time(webhook.last_success_time),
        previous_secret_expire_time=from_time(webhook.previous_secret_end_time),
        creator=webhook.creator,
        create_time=from_time(webhook.create_time),
        update_time=from_time(webhook.update_time),
        etag=etag_of(webhook.version),
    )


def from_delivery(delivery: Delivery) -> webhook_pb2.WebhookDelivery:
    """The contract's WebhookDelivery."""
    state = webhook_pb2.WebhookDeliveryState.Value(f"WEBHOOK_DELIVERY_STATE_{delivery.state}")
    return webhook_pb2.WebhookDelivery(
        id=delivery.id,
        webhook_id=delivery.webhook_id,
        event=Parse(delivery.body, event_pb2.Event(), ignore_unknown_fields=True),
        state=state,
        attempt_count=delivery.attempt_count,
        attempts=[_from_attempt(one) for one in delivery.attempts],
        next_attempt_time=from_time(delivery.due_time),
        create_time=from_time(delivery.create_time),
        end_time=from_time(delivery.end_time),
        replay_of=delivery.replay_of,
    )


def _from_attempt(attempt: Attempt) -> webhook_pb2.WebhookAttempt:
    latency = Duration()
    latency.FromTimedelta(attempt.latency)
    return webhook_pb2.WebhookAttempt(
        number=attempt.number,
        time=from_time(attempt.time),
        latency=latency,
        http_status=attempt.http_status,
        error=attempt.error,
        response_excerpt=attempt.response_excerpt,
    )
