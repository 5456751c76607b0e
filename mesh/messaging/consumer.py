"""The life of a durable consumer in this process: bind, pull, hand over, answer; and again after whatever went wrong.

    wait for the connection → pull → worker takes messages → PullLost → jittered pause → …

Two workers: one message at a time to each of a bounded number of handlers, or batches that are acknowledged together. While a
handler works, its messages are reported as in progress every third of the consumer's `ack_wait`, so slow work is not delivered
twice. A consumer or stream that does not exist (yet) is asked for again and again, quietly.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Protocol

from loguru import logger

from mesh.clock import Clock
from mesh.messaging.message import Message, Reject, Retry
from mesh.messaging.pull import NOW, Pull, PullLost
from mesh.tasks import Backoff, TaskSet

ACK_WAIT = timedelta(seconds=30)
LINGER = timedelta(milliseconds=50)
REBIND = Backoff(first=timedelta(milliseconds=100), most=timedelta(seconds=5))
REDELIVER = Backoff(first=timedelta(seconds=1), most=timedelta(minutes=1))

Handler = Callable[[Message], Awaitable[None]]
BatchHandler = Callable[[Sequence[Message]], Awaitable[None]]


class Pulls(Protocol):
    """Where pulls come from: the connection."""

    async def open_pull(self, stream: str, durable: str) -> Pull: ...
    def closed_pull(self, pull: Pull) -> None: ...


class Worker(Protocol):
    """What is done with the messages of a pull."""

    async def work(self, pull: Pull, stop: asyncio.Event) -> None:
        """Take and handle messages until `stop`. Raises PullLost; gives up unfinished messages when cancelled."""
        ...


async def run(
    pulls: Pulls, stream: str, durable: str, worker: Worker, stop: asyncio.Event | None, clock: Clock
) -> None:
    """Work until cancelled or `stop` is set."""
    stopping = stop or asyncio.Event()
    log = logger.bind(stream=stream, durable=durable)
    failures = 0
    while not stopping.is_set():
        pull: Pull | None = None
        started = clock.monotonic()
        try:
            pull = await pulls.open_pull(stream, durable)
            await worker.work(pull, stopping)
        except PullLost as error:
            failures = 1 if clock.monotonic() - started > REBIND.most.total_seconds() else failures + 1
            if failures == 1:
                log.bind(reason=str(error)).warning("consumer waits")
        finally:
            if pull is not None:
                await pull.close()
                pulls.closed_pull(pull)
        if not stopping.is_set():
            await clock.sleep(REBIND.pause(failures))


class MessageWorker:
    """Up to `max_in_flight` handlers at a time, one message each."""

    def __init__(self, handler: Handler, batch: int, max_in_flight: int, ack_wait: timedelta) -> None:
        if batch < 1 or max_in_flight < 1:
            raise ValueError("batch and max_in_flight: at least 1")
        self._handler = handler
        self._batch = batch
        self._max_in_flight = max_in_flight
        self._ack_wait = ack_wait

    async def work(self, pull: Pull, stop: asyncio.Event) -> None:
        """See Worker."""
        in_hand: set[Message] = set()
        slots = asyncio.Semaphore(self._max_in_flight)
        async with TaskSet() as tasks:
            tasks.spawn(_keep_alive(lambda: [*in_hand, *pull.waiting()], self._ack_wait), name="in progress")
            watch = tasks.spawn(_watch(stop, pull), name="stop")
            try:
                while not stop.is_set():
                    await slots.acquire()
                    slots.release()
                    if pull.idle:
                        await pull.request(min(self._batch, self._max_in_flight - len(in_hand)))
                    message = await pull.take()
                    if message is None:
                        continue
                    await slots.acquire()
                    in_hand.add(message)
                    tasks.spawn(self._handle(message, in_hand, slots), name="message handler")
            except PullLost:
                if not stop.is_set():
                    # Handlers finish what they do; their answers go over the next connection.
                    await _drained(slots, self._max_in_flight)
                    raise
            finally:
                watch.cancel()
            await _drained(slots, self._max_in_flight)

    async def _handle(self, message: Message, in_hand: set[Message], slots: asyncio.Semaphore) -> None:
        try:
            await _settle([message], self._handler(message))
        finally:
            in_hand.discard(message)
            slots.release()


class BatchWorker:
    """One batch at a time."""

    def __init__(self, handler: BatchHandler, batch: int, linger: timedelta, ack_wait: timedelta) -> None:
        if batch < 1:
            raise ValueError("batch: at least 1")
        self._handler = handler
        self._batch = batch
        self._linger = linger
        self._ack_wait = ack_wait

    async def work(self, pull: Pull, stop: asyncio.Event) -> None:
        """See Worker."""
        in_hand: list[Message] = []
        async with TaskSet() as tasks:
            tasks.spawn(_keep_alive(lambda: [*in_hand, *pull.waiting()], self._ack_wait), name="in progress")
            tasks.spawn(_watch(stop, pull), name="stop")
            while not stop.is_set():
                if pull.idle:
                    await pull.request(self._batch)
                try:
                    await self._collect(pull, in_hand)
                except PullLost:
                    if stop.is_set():
                        return
                    raise
                if in_hand:
                    await _settle(in_hand, self._handler(tuple(in_hand)))
                    in_hand.clear()

    async def _collect(self, pull: Pull, into: list[Message]) -> None:
        message = await pull.take()
        while message is not None:
            into.append(message)
            if len(into) == self._batch:
                return
            try:
                message = await pull.take(self._linger)
            except PullLost:
                return  # handle what has come; the next turn meets the loss again


async def _settle(messages: Sequence[Message], handling: Awaitable[None]) -> None:
    """Wait for the handler and give the answer its end stands for to every message that has none yet."""
    try:
        await handling
    except asyncio.CancelledError:
        for message in messages:
            await message.retry(NOW)
        raise
    except Retry as answer:
        for message in messages:
            await message.retry(answer.delay)
    except Reject as answer:
        for message in messages:
            await message.reject(answer.reason)
            logger.bind(subject=message.subject, message_id=message.id, reason=answer.reason).warning(
                "message rejected"
            )
    except Exception as error:
        first = messages[0]
        logger.opt(exception=error).bind(
            subject=first.subject, message_id=first.id, deliveries=first.deliveries, messages=len(messages)
        ).error("message handler failed")
        for message in messages:
            await message.retry(REDELIVER.pause(message.deliveries))
    else:
        for message in messages:
            await message.ack()


async def _keep_alive(messages: Callable[[], Iterable[Message]], ack_wait: timedelta) -> None:
    while True:
        await asyncio.sleep(ack_wait.total_seconds() / 3)
        for message in messages():
            await message.in_progress()


async def _watch(stop: asyncio.Event, pull: Pull) -> None:
    await stop.wait()
    pull.lose("stopping")


async def _drained(slots: asyncio.Semaphore, count: int) -> None:
    for _ in range(count):
        await slots.acquire()
