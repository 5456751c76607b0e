"""Sends deliveries that are due: a bounded number at a time, and few to any one address, so that a slow one delays only itself.

due ─▶ taken (half a minute is its own) ─▶ called ─▶ settled
                                         └ its secret cannot be opened: put off, nothing was sent
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.tasks import TaskSet, set_within
from services.bot_manager.domain.webhooks import (
    Attempt,
    Delivery,
    Webhook,
    WebhookState,
    after_failure,
    after_success,
    settled,
)
from services.bot_manager.store.deliveries import PostgresDeliveries
from services.bot_manager.webhooks.calling import Caller
from services.bot_manager.webhooks.sealing import Sealer
from services.bot_manager.webhooks.settings import WebhookSettings, disable_after

AT_ONCE: Final = 32
AT_ONCE_PER_WEBHOOK: Final = 4
LEASE: Final = timedelta(seconds=45)
"""Longer than a call may take, opening the secret and writing the outcome included."""
PUT_OFF: Final = timedelta(seconds=30)
TICK: Final = timedelta(seconds=1)


class Sender:
    """See the module."""

    def __init__(
        self,
        store: PostgresDeliveries,
        sealer: Sealer,
        caller: Caller,
        settings: Callable[[], WebhookSettings],
        tasks: TaskSet,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._caller = caller
        self._settings = settings
        self._tasks = tasks
        self._clock = clock
        self._chance = chance
        self._busy: Counter[str] = Counter()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """A delivery may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. Survives the loss of the database."""
        while True:
            self._wake.clear()
            try:
                await self._begin()
            except MeshError as error:
                logger.bind(reason=error.reason).warning("deliveries wait")
            await set_within(self._wake, TICK)

    async def attempt(self, webhook: Webhook, delivery: Delivery, now: datetime) -> Attempt:
        """One call. Raises Unavailable if the secret cannot be opened; nothing is sent then."""
        opened = [await self._sealer.open(webhook.id, one) for one in webhook.ciphertexts(now)]
        return await self._caller.call(webhook, delivery, opened)

    async def _begin(self) -> None:
        now = self._clock.now()
        for webhook in await self._store.due(now):
            free = min(AT_ONCE - self._busy.total(), AT_ONCE_PER_WEBHOOK - self._busy[webhook.id])
            if webhook.failure_count:
                free = min(free, 1 - self._busy[webhook.id])  # one call shows whether it is back
            if free <= 0:
                continue
            for delivery in await self._store.take(webhook.id, now, LEASE, free):
                self._busy[webhook.id] += 1
                self._tasks.spawn(self._deliver(webhook, delivery), name="webhook delivery")

    async def _deliver(self, webhook: Webhook, delivery: Delivery) -> None:
        try:
            await self._try(webhook, delivery)
        except MeshError as error:
            # Not settled: it is due again when the lease is over, with the same id.
            logger.bind(reason=error.reason, webhook_id=webhook.id).warning("delivery not settled")
        finally:
            self._busy[webhook.id] -= 1
            self.wake()

    async def _try(self, webhook: Webhook, delivery: Delivery) -> None:
        now = self._clock.now()
        try:
            attempt = await self.attempt(webhook, delivery, now)
        except MeshError as error:
            logger.bind(reason=error.reason, webhook_id=webhook.id).warning("signing secret not readable")
            await self._store.put_off(delivery, now + PUT_OFF)
            return
        now = self._clock.now()
        after = await self._store.settle(
            settled(delivery, attempt, now, self._chance()), attempt, self._judge(attempt, now), now
        )
        if after is not None and after.state is WebhookState.DISABLED is not webhook.state:
            logger.bind(webhook_id=webhook.id).error("webhook disabled")

    def _judge(self, attempt: Attempt, now: datetime) -> Callable[[Webhook], Webhook]:
        limit = disable_after(self._settings())
        if attempt.error:
            return lambda webhook: after_failure(webhook, attempt.error, now, limit)
        return lambda webhook: after_success(webhook, now)
