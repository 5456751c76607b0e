"""Use cases of webhooks: make, find, change, delete, change the secret, try, look at deliveries, send one again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, InvalidArgument, MeshError
from mesh.secret import Secret
from services.bot_manager.domain.happenings import EventType
from services.bot_manager.domain.versions import check_etag
from services.bot_manager.domain.watching import Event
from services.bot_manager.domain.webhooks import (
    Attempt,
    Delivery,
    DeliveryState,
    Webhook,
    WebhookState,
    after_success,
    failed,
    settled,
)
from services.bot_manager.outbound import check_url
from services.bot_manager.store.deliveries import PostgresDeliveries
from services.bot_manager.store.ports import RequestKey
from services.bot_manager.store.webhooks import PostgresWebhooks
from services.bot_manager.webhooks.making import body_of
from services.bot_manager.webhooks.sealing import Sealer, new_secret
from services.bot_manager.webhooks.sending import LEASE, Sender
from services.bot_manager.webhooks.settings import WebhookSettings

OVERLAP: Final = timedelta(days=1)
LONGEST_OVERLAP: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class WebhookDraft:
    """A webhook as somebody described it. `state` None: the default on create, unchanged on update."""

    url: str
    display_name: str = ""
    types: frozenset[EventType] = frozenset()
    bot_ids: frozenset[str] = frozenset()
    state: WebhookState | None = None


class Webhooks:
    """`new_id` makes ids."""

    def __init__(
        self,
        store: PostgresWebhooks,
        deliveries: PostgresDeliveries,
        sealer: Sealer,
        sender: Sender,
        settings: Callable[[], WebhookSettings],
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._deliveries = deliveries
        self._sealer = sealer
        self._sender = sender
        self._settings = settings
        self._clock = clock
        self._new_id = new_id

    async def create(
        self, draft: WebhookDraft, actor: str, key: RequestKey | None
    ) -> tuple[Webhook, Secret | None]:
        """A webhook with its secret; None for a repeat. Raises InvalidArgument, FailedPrecondition (INVALID_STATE), Unavailable."""
        self._check(draft)
        now, secret = self._clock.now(), new_secret()
        webhook = _described(Webhook(self._new_id(), "", now, now, creator=actor), draft)
        webhook = replace(webhook, secret=await self._sealer.seal(webhook.id, secret))
        stored = await self._store.create(webhook, key, self._settings().max_webhooks)
        return stored, secret if stored.id == webhook.id else None

    async def get(self, webhook_id: str) -> Webhook:
        """Raises NotFound (WEBHOOK_NOT_FOUND)."""
        return await self._store.get(webhook_id)

    async def list(self, after: str, limit: int) -> Sequence[Webhook]:
        """Newest first, behind the one with that id."""
        return await self._store.list(after, limit)

    async def update(
        self, webhook_id: str, etag: str, describe: Callable[[Webhook], WebhookDraft]
    ) -> Webhook:
        """Change what `describe` says; it sees the webhook under its lock. Raises NotFound, Aborted, InvalidArgument."""
        now = self._clock.now()

        def edit(stored: Webhook, number: int) -> Webhook:
            check_etag(etag, stored.version)
            draft = describe(stored)
            self._check(draft)
            changed = _described(stored, draft)
            if changed.state is WebhookState.ACTIVE is not stored.state:
                changed = replace(changed, after_number=number, state_message="")
                changed = replace(after_success(changed, now), last_success_time=stored.last_success_time)
            return replace(changed, version=stored.version + 1, update_time=now)

        return await self._store.change(webhook_id, edit)

    async def delete(self, webhook_id: str, etag: str) -> None:
        """Raises NotFound, Aborted."""
        await self._store.delete(webhook_id, lambda stored: check_etag(etag, stored.version))

    async def rotate(self, webhook_id: str, etag: str, until: datetime | None) -> tuple[Webhook, Secret]:
        """A new secret; the one so far is good until then, a day if nobody says. Raises NotFound, Aborted, InvalidArgument, Unavailable."""
        now, secret = self._clock.now(), new_secret()
        end = until or now + OVERLAP
        if end > now + LONGEST_OVERLAP:
            raise InvalidArgument(
                "INVALID_FIELD", "is more than 7 days ahead", field="previous_secret_expire_time"
            )
        check_etag(etag, (await self._store.get(webhook_id)).version)
        ciphertext = await self._sealer.seal(webhook_id, secret)

        def edit(stored: Webhook, number: int) -> Webhook:
            check_etag(etag, stored.version)
            overlaps = end > now
            return replace(
                stored,
                secret=ciphertext,
                previous_secret=stored.secret if overlaps else "",
                previous_secret_end_time=end if overlaps else None,
                version=stored.version + 1,
                update_time=now,
            )

        return await self._store.change(webhook_id, edit), secret

    async def test(self, webhook_id: str, actor: str) -> Delivery:
        """Send a test once and tell what came of it. Raises NotFound, Unavailable (nothing was sent, the delivery FAILED)."""
        webhook, now = await self._store.get(webhook_id), self._clock.now()
        event = Event(
            self._new_id(),
            now,
            EventType.WEBHOOK_TEST,
            actor,
            "somebody tries this webhook",
            webhook_id=webhook_id,
        )
        delivery = Delivery(
            self._new_id(),
            webhook_id,
            event.id,
            event.type,
            body_of(event),
            now,
            attempt_count=1,
            due_time=now + LEASE,
        )
        await self._deliveries.add(delivery)
        try:
            attempt = await self._sender.attempt(webhook, delivery, now)
        except MeshError:
            # It was to be sent now or not at all.
            attempt = Attempt(1, now, timedelta(), error="its secret cannot be opened; nothing was sent")
            await self._settle_test(delivery, attempt)
            raise
        return await self._settle_test(delivery, attempt)

    async def _settle_test(self, delivery: Delivery, attempt: Attempt) -> Delivery:
        now = self._clock.now()
        after = failed(delivery, now) if attempt.error else settled(delivery, attempt, now, 0)
        await self._deliveries.settle(after, attempt, lambda stored: stored, now)
        return replace(after, attempts=[attempt])

    async def deliveries(
        self, webhook_id: str, state: DeliveryState | None, after: str, limit: int
    ) -> Sequence[Delivery]:
        """Newest first, behind the one with that id. Raises NotFound (WEBHOOK_NOT_FOUND)."""
        return await self._deliveries.list(webhook_id, state, after, limit)

    async def replay(self, delivery_id: str) -> Delivery:
        """Send an event again. Raises NotFound (WEBHOOK_DELIVERY_NOT_FOUND), FailedPrecondition (INVALID_STATE)."""
        first = await self._deliveries.get(delivery_id)
        webhook, now = await self._store.get(first.webhook_id), self._clock.now()
        if webhook.state is not WebhookState.ACTIVE or first.state is DeliveryState.PENDING:
            raise FailedPrecondition(
                "INVALID_STATE",
                f"the webhook is {webhook.state} and the delivery {first.state}",
                metadata={"webhookState": webhook.state.value, "deliveryState": first.state.value},
            )
        again = Delivery(
            self._new_id(),
            webhook.id,
            first.event_id,
            first.event_type,
            first.body,
            now,
            due_time=now,
            replay_of=first.id,
        )
        await self._deliveries.add(again)
        self._sender.wake()
        return again

    def _check(self, draft: WebhookDraft) -> None:
        check_url(draft.url, "webhook.url", allow_http=self._settings().allow_http)


def _described(webhook: Webhook, draft: WebhookDraft) -> Webhook:
    return replace(
        webhook,
        url=draft.url,
        display_name=draft.display_name or urlsplit(draft.url).hostname or "",
        types=draft.types,
        bot_ids=draft.bot_ids,
        state=draft.state or webhook.state,
    )
