"""Webhooks and their deliveries: who wants which event, when an attempt is repeated, when an address is left alone or given up.

Pure. A delivery is tried until it is taken or a day has passed. An address that takes nothing rests ever longer, so that a dead one
costs few calls however many deliveries wait for it, and after days it is not called any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.bot_manager.domain.happenings import EventType
from services.bot_manager.domain.watching import Told

FIRST_RETRY: Final = timedelta(seconds=10)
LONGEST_RETRY: Final = timedelta(hours=3)
RETRY_FACTOR: Final = 3
GIVE_UP_AFTER: Final = timedelta(days=1)
FAILURES_BEFORE_REST: Final = 5
LONGEST_REST: Final = timedelta(minutes=5)
NOTED_EVERY: Final = timedelta(minutes=1)
"""A success is noted at the webhook as often, so that a busy one does not write its row for each delivery."""


class WebhookState(StrEnum):
    """See the contract's WebhookState."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    DISABLED = "DISABLED"


class DeliveryState(StrEnum):
    """See the contract's WebhookDeliveryState."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that gets events. `secret` and `previous_secret` are ciphertexts; its events have numbers above `after_number`."""

    id: str
    url: str
    create_time: datetime
    update_time: datetime
    display_name: str = ""
    types: frozenset[EventType] = frozenset()
    bot_ids: frozenset[str] = frozenset()
    state: WebhookState = WebhookState.ACTIVE
    state_message: str = ""
    secret: str = ""
    previous_secret: str = ""
    previous_secret_end_time: datetime | None = None
    after_number: int = 0
    failing_since_time: datetime | None = None
    failure_count: int = 0
    """Failures in a row."""
    rest_end_time: datetime | None = None
    last_success_time: datetime | None = None
    creator: str = ""
    version: int = 1

    def wants(self, told: Told) -> bool:
        """Whether an event is for it: one that was written after it was made or set going, and is asked for."""
        return (
            told.number > self.after_number
            and (not self.types or told.event.type in self.types)
            and (not self.bot_ids or told.event.bot_id in self.bot_ids)
        )

    def ciphertexts(self, now: datetime) -> tuple[str, ...]:
        """Of the secrets that deliveries are signed with now."""
        end = self.previous_secret_end_time
        return (self.secret, self.previous_secret) if end is not None and end > now else (self.secret,)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call. `error` says in words why it failed; empty if it did not."""

    number: int
    time: datetime
    latency: timedelta
    http_status: int = 0
    error: str = ""
    response_excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook; `body` is what is sent."""

    id: str
    webhook_id: str
    event_id: str
    event_type: EventType
    body: str = field(repr=False)
    create_time: datetime
    state: DeliveryState = DeliveryState.PENDING
    attempt_count: int = 0
    due_time: datetime | None = None
    replay_of: str = ""
    end_time: datetime | None = None
    attempts: Sequence[Attempt] = ()


def settled(delivery: Delivery, attempt: Attempt, now: datetime, chance: float) -> Delivery:
    """What an attempt makes of its delivery. `chance` in [0, 1) spreads the next one."""
    if not attempt.error:
        return replace(delivery, state=DeliveryState.DELIVERED, due_time=None, end_time=now)
    due = now + pause(delivery.attempt_count, chance)
    if due > delivery.create_time + GIVE_UP_AFTER:
        return failed(delivery, now)
    return replace(delivery, due_time=due)


def failed(delivery: Delivery, now: datetime) -> Delivery:
    """Not tried again."""
    return replace(delivery, state=DeliveryState.FAILED, due_time=None, end_time=now)


def pause(attempts: int, chance: float) -> timedelta:
    """Between an attempt, counted from 1, and the next; shortened by up to a fifth."""
    full = min(LONGEST_RETRY, FIRST_RETRY * int(RETRY_FACTOR ** min(attempts - 1, 20)))
    return full * (1 - chance / 5)


def after_success(webhook: Webhook, now: datetime) -> Webhook:
    """The address took a delivery."""
    last = webhook.last_success_time
    if webhook.failure_count == 0 and last is not None and now - last < NOTED_EVERY:
        return webhook
    return replace(
        webhook, failing_since_time=None, failure_count=0, rest_end_time=None, last_success_time=now
    )


def after_failure(webhook: Webhook, error: str, now: datetime, disable_after: timedelta) -> Webhook:
    """The address did not take a delivery: it rests if that has happened often, and is given up after so long."""
    count = webhook.failure_count + 1
    since = webhook.failing_since_time or now
    over = count - FAILURES_BEFORE_REST
    rest = now + min(LONGEST_REST, timedelta(seconds=1 << min(over, 30))) if over >= 0 else None
    after = replace(webhook, failing_since_time=since, failure_count=count, rest_end_time=rest)
    if webhook.state is not WebhookState.ACTIVE or now - since < disable_after:
        return after
    message = f"nothing was taken since {since:%Y-%m-%d %H:%M} UTC; the last answer: {error}"
    return replace(after, state=WebhookState.DISABLED, state_message=message)
