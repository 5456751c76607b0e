"""Takes publishing actions from JetStream and sends their posts, many at a time.

An action is only a hint that claims exist: each is checked in the database, so an action that comes twice, late or after its posts have
moved on is acknowledged and forgotten. If one of them could not be recorded the action is delivered again; by then its claim has usually
ended, and the post is claimed anew.

Stopping: no further action is taken, and what is in hand gets a moment to finish, because a call that is cut off is a call of unknown
outcome.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Protocol

from loguru import logger

from mesh.context import background_call
from mesh.errors import MeshError
from mesh.messaging import Message, Reject, Retry
from mesh.messaging.consumer import Handler
from mesh.tasks import TaskSet
from services.bot_manager.publishing import metrics
from services.bot_manager.publishing.sender import Sender
from services.bot_manager.store.ports import PUBLISH_SUBJECT, Claim

STREAM: Final = "ACTIONS"
DURABLE: Final = "bot_manager"
BATCH: Final = 8
"""Actions asked for at a time: each may tell of many posts, and what one replica holds the others cannot take."""
NOT_OURS: Final = timedelta(seconds=30)
"""When to offer an action that this version does not know to another replica."""
AGAIN: Final = timedelta(seconds=2)
GRACE: Final = timedelta(seconds=3)
"""How long calls in hand may take to finish when the process stops; supervisors wait little longer."""


class Consumer(Protocol):
    """The part of Messaging that is used."""

    async def consume(
        self,
        stream: str,
        durable: str,
        handler: Handler,
        *,
        batch: int,
        max_in_flight: int,
        weight: Callable[[Message], int],
        stop: asyncio.Event | None,
    ) -> None: ...


class Worker:
    """Consumes actions until cancelled."""

    def __init__(self, messaging: Consumer, sender: Sender, max_in_flight: int) -> None:
        self._messaging = messaging
        self._sender = sender
        self._max_in_flight = max_in_flight
        self._slots = asyncio.Semaphore(max_in_flight)
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """See the module."""
        async with TaskSet() as tasks:
            self._sender.ledger.start(tasks)
            consuming = tasks.spawn(self._consume(), name="publish actions")
            try:
                await asyncio.shield(consuming)
            except asyncio.CancelledError:
                self._stop.set()
                await asyncio.wait({consuming}, timeout=GRACE.total_seconds())
                raise

    async def _consume(self) -> None:
        await self._messaging.consume(
            STREAM,
            DURABLE,
            self._handle,
            batch=min(BATCH, self._max_in_flight),
            max_in_flight=self._max_in_flight,
            weight=_posts_in,
            stop=self._stop,
        )

    async def _handle(self, message: Message) -> None:
        if message.subject != PUBLISH_SUBJECT:
            raise Retry(NOT_OURS)
        try:
            claims = Claim.from_payload(message.payload)
        except ValueError:
            raise Reject("not a publishing action") from None
        async with TaskSet() as tasks:
            # One that fails must not take the others with it: a call that is cut off is a call of unknown outcome.
            done = await asyncio.gather(
                *(tasks.spawn(self._publish(claim), name="publish post") for claim in claims),
                return_exceptions=True,
            )
        for result in done:
            if isinstance(result, BaseException):
                raise result
        if not all(done):
            raise Retry(AGAIN)

    async def _publish(self, claim: Claim) -> bool:
        """Send one post. Whether everything about it is recorded."""
        async with self._slots:
            with (
                background_call("bot_manager/publish", bot_id=claim.bot_id),
                metrics.in_flight.track_inprogress(),
            ):
                try:
                    await self._sender.publish(claim)
                except MeshError as error:
                    logger.bind(post_id=claim.post_id, reason=error.reason).warning(
                        "action could not be recorded"
                    )
                    return False
        return True


def _posts_in(message: Message) -> int:
    """How many posts an action tells of."""
    return message.payload.count(b"\n") + 1
