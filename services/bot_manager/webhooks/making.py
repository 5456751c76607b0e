"""Turns events into deliveries, in one replica at a time, each event once: the place is moved on in the transaction of the deliveries."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, Protocol

from google.protobuf.json_format import MessageToJson
from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError, OutOfRange
from mesh.ids import new_id
from services.bot_manager.convert.events import from_event
from services.bot_manager.domain.watching import Batch, Event, Place
from services.bot_manager.domain.webhooks import Delivery, Webhook
from services.bot_manager.events.ticks import Tick
from services.bot_manager.store.deliveries import PostgresDeliveries

TICK: Final = timedelta(seconds=1)


class Ticking(Protocol):
    """See `events/ticks.py`."""

    async def tick(self) -> Tick: ...

    async def oldest(self) -> int: ...


class Following(Protocol):
    """See `events/reading.py`."""

    async def after(self, place: Place) -> Batch: ...


class Maker:
    """`made` is told when there are new deliveries."""

    def __init__(
        self,
        store: PostgresDeliveries,
        ticks: Ticking,
        events: Following,
        clock: Clock,
        made: Callable[[], None],
    ) -> None:
        self._store = store
        self._ticks = ticks
        self._events = events
        self._clock = clock
        self._made = made

    async def run(self) -> None:
        """Until cancelled. Survives the loss of the database."""
        while True:
            try:
                await self.step()
            except MeshError as error:
                logger.bind(reason=error.reason).warning("events wait to become deliveries")
            await self._clock.sleep(TICK)

    async def step(self) -> None:
        """Everything that has happened by now. Raises Unavailable, DeadlineExceeded."""
        newest = Place((await self._ticks.tick()).number)
        begin = Place(await self._ticks.oldest())
        try:
            while await self._store.advance(begin, newest, self._events.after, self._deliveries):
                pass
        except OutOfRange:
            logger.error("events were no longer kept when they were to become deliveries")
            await self._store.restart(begin)

    def _deliveries(self, batch: Batch, webhooks: Sequence[Webhook]) -> list[Delivery]:
        now, found = self._clock.now(), []
        for told in batch.told:
            wanting = [webhook for webhook in webhooks if webhook.wants(told)]
            body = body_of(told.event) if wanting else ""
            for webhook in wanting:
                event = told.event
                found.append(Delivery(new_id(), webhook.id, event.id, event.type, body, now, due_time=now))
        if found:
            self._made()
        return found


def body_of(event: Event) -> str:
    """What is sent: the contract's Event in ProtoJSON, on one line."""
    return str(MessageToJson(from_event(event), indent=None))
