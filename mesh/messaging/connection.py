"""The one NATS connection of a process: kept up in the background, for publishing, hints and consumers.

`run` connects, waits until the connection is lost, and connects again after a jittered pause, for ever; a process that starts while
NATS is away starts all the same. While there is no connection every publish fails at once: nothing is buffered here, because what
must not be lost lies in an outbox or a spool already. A publish returns when JetStream has stored the message; if it raises, the
outcome is unknown and the caller publishes again with the same message id, which the stream recognises.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from loguru import logger
from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from mesh.clock import Clock, SystemClock
from mesh.errors import InvalidArgument, MeshError, OutOfRange
from mesh.ids import new_id
from mesh.messaging import consumer as consumers
from mesh.messaging import reading
from mesh.messaging.acknowledgements import Acknowledgements
from mesh.messaging.client import (
    StrictClient,
    TlsFiles,
    close_client,
    keep_cancellation,
    open_client,
    send,
    tls_context,
)
from mesh.messaging.failure import MessagingUnavailable
from mesh.messaging.message import MESSAGE_ID, Message
from mesh.messaging.pull import Pull, PullLost
from mesh.messaging.reading import Stored
from mesh.tasks import Backoff, first_of, set_within
from mesh.telemetry.metrics import messaging_connected

PUBLISH_TIMEOUT = timedelta(seconds=5)
RECONNECT = Backoff(first=timedelta(milliseconds=100), most=timedelta(seconds=5))
MAX_IN_FLIGHT = 1024
"""Messages published and not yet acknowledged, over all callers; further ones wait their turn within their own time limit."""
PIPELINE = 256
"""Messages of one `publish_many` in flight at a time."""
HINTS_PENDING = 1024
HEADER_RESERVE_BYTES = 4096
WATCH = timedelta(seconds=1)
CONSUMER_GOODBYE = timedelta(seconds=2)

HintCallback = Callable[[str, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for `publish_many`."""

    subject: str
    payload: bytes
    message_id: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Messaging:
    """See the module. `tls` None connects in clear text, which only tests do; `server_name` is the DNS name in NATS' certificate."""

    def __init__(
        self,
        service: str,
        url: str,
        tls: TlsFiles | None = None,
        *,
        server_name: str = "nats",
        backoff: Backoff = RECONNECT,
        clock: Clock | None = None,
    ) -> None:
        self._service = service
        self._servers = [part.strip() for part in url.split(",") if part.strip()]
        self._tls = tls
        self._server_name = server_name
        self._backoff = backoff
        self._clock = clock or SystemClock()
        # The server lets a service hear its own prefix only, so that no service can read another's answers.
        self._inbox = f"_INBOX_{service}"
        self._acknowledgements = Acknowledgements(f"{self._inbox}.{new_id()}")
        self._window = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._client: StrictClient | None = None
        self._connected = asyncio.Event()
        self._hints: dict[int, tuple[str, HintCallback]] = {}
        self._consumers: set[Pull] = set()
        self._consumers_gone = asyncio.Event()
        self._consumers_gone.set()

    @property
    def connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._client is not None and self._client.is_connected

    async def check(self) -> None:
        """For health: raises MessagingUnavailable while there is no connection."""
        if not self.connected:
            raise MessagingUnavailable("not connected to NATS")

    async def wait_connected(self) -> None:
        """Return once there is a connection."""
        await self._connected.wait()

    async def run(self) -> None:
        """Keep the connection up until cancelled; then let consumers say goodbye, flush and close."""
        failures = 0
        while True:
            try:
                await self._serve_once()
                failures = 0
            except (OSError, errors.Error, TimeoutError) as error:
                if failures == 0:
                    logger.bind(error_type=type(error).__name__).warning("messaging not reachable")
            failures += 1
            await self._clock.sleep(self._backoff.pause(failures))

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = PUBLISH_TIMEOUT,
    ) -> None:
        """Store a message in the stream of its subject. Raises MessagingUnavailable (publish again with the same `message_id`), or
        OutOfRange if the message is larger than the server takes."""
        try:
            async with asyncio.timeout(timeout.total_seconds()), self._window:
                await self._publish(subject, payload, {**(headers or {}), MESSAGE_ID: message_id})
        except TimeoutError:
            raise MessagingUnavailable("no acknowledgement in time") from None
        except errors.BadSubjectError:
            raise InvalidArgument("INVALID_FIELD", "not a NATS subject", field="subject") from None
        except errors.BadHeaderError:
            raise InvalidArgument("INVALID_FIELD", "not a NATS header name", field="headers") from None
        except (errors.Error, OSError) as error:
            raise MessagingUnavailable(f"the message was not sent: {type(error).__name__}") from None

    async def publish_many(
        self, items: Sequence[Outgoing], *, timeout: timedelta = PUBLISH_TIMEOUT
    ) -> list[MeshError | None]:
        """Publish without waiting between messages; `timeout` is for each. One outcome an item, in order: None, or why not."""
        pipeline = asyncio.Semaphore(PIPELINE)

        async def one(item: Outgoing) -> MeshError | None:
            async with pipeline:
                try:
                    await self.publish(
                        item.subject,
                        item.payload,
                        message_id=item.message_id,
                        headers=item.headers,
                        timeout=timeout,
                    )
                except MeshError as error:
                    return error
                return None

        return list(await asyncio.gather(*(one(item) for item in items)))

    async def read(self, stream: str, subject: str) -> AsyncIterator[list[Stored]]:
        """Every message of a subject of a stream that can be read by number, oldest first. Raises MessagingUnavailable."""
        async for found in reading.read(self._must_be_connected(), self._own_inbox(), stream, subject):
            yield found

    async def read_last(self, stream: str, subject: str) -> Stored | None:
        """The newest of them. Raises MessagingUnavailable."""
        return await reading.read_last(self._must_be_connected(), self._own_inbox(), stream, subject)

    async def hint(self, subject: str, payload: bytes) -> None:
        """Tell whoever listens now. May get lost, waits for nobody, never raises for NATS being away."""
        client = self._client
        if client is not None:
            with suppress(errors.Error, OSError):
                await send(client, subject, payload)

    async def subscribe_hint(self, subject: str, callback: HintCallback) -> Callable[[], Awaitable[None]]:
        """Call `callback(subject, payload)` for each hint, one after another, over reconnects. Hints sent while the connection was
        away are not seen. What the callback raises is logged. Returns the function that ends the subscription."""
        key = max(self._hints, default=0) + 1
        self._hints[key] = (subject, callback)
        if self._client is not None:
            await self._listen(self._client, key)

        async def end() -> None:
            self._hints.pop(key, None)

        return end

    async def consume(
        self,
        stream: str,
        durable: str,
        handler: consumers.Handler,
        *,
        batch: int = 64,
        max_in_flight: int = 64,
        ack_wait: timedelta = consumers.ACK_WAIT,
        weight: Callable[[Message], int] = consumers.alike,
        stop: asyncio.Event | None = None,
    ) -> None:
        """Hand every message of a durable consumer to `handler`, up to `max_in_flight` at a time, until cancelled (what is being
        handled is cancelled and delivered again at once) or `stop` is set (what is being handled is finished). `ack_wait` is the
        consumer's; long handlers are reported as in progress. `weight` tells as how many a message counts."""
        worker = consumers.MessageWorker(handler, batch, max_in_flight, ack_wait, weight)
        await consumers.run(self, stream, durable, worker, stop, self._clock)

    async def consume_batches(
        self,
        stream: str,
        durable: str,
        handler: consumers.BatchHandler,
        *,
        batch: int = 100,
        linger: timedelta = consumers.LINGER,
        ack_wait: timedelta = consumers.ACK_WAIT,
        stop: asyncio.Event | None = None,
    ) -> None:
        """Like `consume`, with up to `batch` messages at a time that are acknowledged together when `handler` returns. A batch is
        handed over when it is full, or `linger` after its first message came."""
        worker = consumers.BatchWorker(handler, batch, linger, ack_wait)
        await consumers.run(self, stream, durable, worker, stop, self._clock)

    async def open_pull(self, stream: str, durable: str, stop: asyncio.Event) -> Pull:
        """For consumers: wait for a connection and bind to the durable by its name, which asks the server for nothing."""
        await first_of(self._connected, stop)
        client = self._client
        if client is None or stop.is_set():
            raise PullLost("not connected")
        pull = Pull(client, self._respond, stream, durable, self._own_inbox())
        self._consumers.add(pull)
        self._consumers_gone.clear()
        try:
            await pull.open()
        except BaseException:
            self.closed_pull(pull)
            raise
        return pull

    def closed_pull(self, pull: Pull) -> None:
        """For consumers: the pull has said its goodbye."""
        self._consumers.discard(pull)
        if not self._consumers:
            self._consumers_gone.set()

    async def _serve_once(self) -> None:
        lost = asyncio.Event()

        async def on_lost() -> None:
            lost.set()

        async def on_error(error: Exception) -> None:
            if isinstance(error, OSError | errors.StaleConnectionError):
                lost.set()
            elif self._client is not None:
                # Permissions and slow consumers: the texts name subjects, never payloads.
                logger.bind(error_type=type(error).__name__, detail=str(error)).error("messaging complained")

        tls = tls_context(self._tls) if self._tls is not None else None
        client = await open_client(
            self._servers, self._service, self._inbox, tls, self._server_name, on_error, on_lost
        )
        lost.clear()  # the first of two attempts may have failed
        try:
            await self._attach(client)
            while client.is_connected and not lost.is_set():
                await set_within(lost, WATCH)
            logger.warning("messaging lost")
        except asyncio.CancelledError:
            await set_within(self._consumers_gone, CONSUMER_GOODBYE)
            raise
        finally:
            self._detach()
            await close_client(client)

    async def _attach(self, client: StrictClient) -> None:
        await keep_cancellation(
            client.subscribe(self._acknowledgements.subject, cb=self._acknowledgements.receive)
        )
        self._client = client
        for key in list(self._hints):
            await self._listen(client, key)
        self._connected.set()
        messaging_connected.set(1)
        logger.info("messaging connected")

    def _detach(self) -> None:
        self._client = None
        self._connected.clear()
        messaging_connected.set(0)
        self._acknowledgements.fail_all("the connection was lost before the acknowledgement")
        for pull in self._consumers:
            pull.lose()

    def _must_be_connected(self) -> StrictClient:
        if self._client is None:
            raise MessagingUnavailable("not connected to NATS")
        return self._client

    def _own_inbox(self) -> str:
        return f"{self._inbox}.{new_id()}"

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        client = self._must_be_connected()
        limit = client.max_payload - HEADER_RESERVE_BYTES
        if len(payload) > limit:
            raise OutOfRange("MESSAGE_TOO_LARGE", f"a message may have at most {limit} bytes")
        reply, stored = self._acknowledgements.expect()
        try:
            await send(client, subject, payload, reply, headers)
            await stored
        finally:
            self._acknowledgements.forget(reply)

    async def _respond(self, reply: str, body: bytes) -> None:
        """An answer to a delivery; one that cannot be sent is made up for by the next delivery."""
        client = self._client
        if client is not None:
            with suppress(errors.Error, OSError):
                await send(client, reply, body)

    async def _listen(self, client: Client, key: int) -> None:
        subject, callback = self._hints[key]

        async def on_message(message: Msg) -> None:
            if key not in self._hints:
                return
            try:
                await callback(message.subject, message.data)
            except Exception as error:
                logger.opt(exception=error).bind(subject=subject).error("hint callback failed")

        await keep_cancellation(client.subscribe(subject, cb=on_message, pending_msgs_limit=HINTS_PENDING))
