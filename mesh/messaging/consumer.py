"""The life of a durable consumer in this process: bind, pull, hand over, answer; and again after whatever went wrong.

    wait for the connection → pull → worker takes messages → PullLost → jittered pause → …

Two workers: one message at a time to each of a bounded number of handlers, or batches that are acknowledged together. While a
handler works, its messages are reported as in progress every third of the consumer's `ack_wait`, so slow work is not delivered
twice. Handlers outlive a lost connection; their answers go over the next one. A consumer or stream that does not exist (yet) is
asked for again and again, quietly.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from time import monotonic
from typing import Protocol

from loguru import logger

from mesh.clock import Clock
from mesh.messaging.message import Message, Reject, Retry
from mesh.messaging.pull import NOW, Pull, PullLost
from mesh.tasks import Backoff, TaskSet, pause_or_stop

ACK_WAIT = timedelta(seconds=30)
LINGER = timedelta(milliseconds=50)
AT_HAND = timedelta(milliseconds=1)
"""Once a batch's time is over, what is here already still joins it."""
REBIND = Backoff(first=timedelta(milliseconds=100), most=timedelta(seconds=5))
REDELIVER = Backoff(first=timedelta(seconds=1), most=timedelta(minutes=1))

Handler = Callable[[Message], Awaitable[None]]
BatchHandler = Callable[[Sequence[Message]], Awaitable[None]]


class Pulls(Protocol):
    """Where pulls come from: the connection."""

    async def open_pull(self, stream: str, durable: str, stop: asyncio.Event) -> Pull:
        """Wait for a connection and bind. Raises PullLost, also when `stop` is set."""
        ...

    def closed_pull(self, pull: Pull) -> None:
        """The pull has said its goodbye."""
        ...


class Worker(Protocol):
    """What is done with the messages of a pull."""

    def in_hand(self) -> Iterable[Message]:
        """Messages that are being handled."""
        ...

    async def work(self, pull: Pull, tasks: TaskSet) -> None:
        """Take and handle messages until PullLost."""
        ...

    async def finish(self) -> None:
        """Wait until everything in hand is answered."""
        ...


async def run(
    pulls: Pulls, stream: str, durable: str, worker: Worker, stop: asyncio.Event | None, clock: Clock
) -> None:
    """Work until cancelled (what is in hand is cancelled and given back) or `stop` is set (what is in hand is finished)."""
    stopping = stop or asyncio.Event()
    log = logger.bind(stream=stream, durable=durable)
    failures = 0
    async with TaskSet() as tasks:
        while not stopping.is_set():
            started = clock.monotonic()
            try:
                await _one_pull(pulls, stream, durable, worker, stopping, tasks)
            except PullLost as error:
                long_ago = clock.monotonic() - started > REBIND.most.total_seconds()
                failures = 1 if long_ago else failures + 1
                if failures == 1 and not stopping.is_set():
                    log.bind(reason=str(error)).warning("consumer waits")
            await pause_or_stop(REBIND.pause(failures), stopping, clock)
        await worker.finish()


async def _one_pull(
    pulls: Pulls, stream: str, durable: str, worker: Worker, stopping: asyncio.Event, tasks: TaskSet
) -> None:
    pull = await pulls.open_pull(stream, durable, stopping)
    helper = tasks.spawn(_lose_on(stopping, pull), name=f"stop {durable}")
    try:
        await worker.work(pull, tasks)
    finally:
        helper.cancel()
        await pull.close()
        pulls.closed_pull(pull)


def alike(message: Message) -> int:
    """The weight of messages that are all as much work."""
    return 1


class MessageWorker:
    """Handlers side by side, one message each, until what is in hand weighs `max_in_flight`; the last one taken may go beyond."""

    def __init__(
        self,
        handler: Handler,
        batch: int,
        max_in_flight: int,
        ack_wait: timedelta,
        weight: Callable[[Message], int] = alike,
    ) -> None:
        if batch < 1 or max_in_flight < 1:
            raise ValueError("batch and max_in_flight: at least 1")
        self._handler = handler
        self._batch = batch
        self._max_in_flight = max_in_flight
        self._ack_wait = ack_wait
        self._weight = weight
        self._in_hand: set[Message] = set()
        self._load = 0
        self._answered = asyncio.Event()

    def in_hand(self) -> Iterable[Message]:
        """See Worker."""
        return tuple(self._in_hand)

    async def work(self, pull: Pull, tasks: TaskSet) -> None:
        """See Worker."""
        helper = tasks.spawn(_keep_alive(self, pull, self._ack_wait), name="in progress")
        try:
            while True:
                await self._until_load_below(self._max_in_flight)
                if pull.idle:
                    await pull.request(min(self._batch, self._max_in_flight - self._load))
                message = await pull.take()
                if message is not None:
                    await self._until_load_below(self._max_in_flight)
                    self._in_hand.add(message)
                    self._load += self._weight(message)
                    tasks.spawn(self._handle(message), name="message handler")
        finally:
            helper.cancel()

    async def finish(self) -> None:
        """See Worker."""
        await self._until_load_below(1)

    async def _until_load_below(self, most: int) -> None:
        while self._load >= most:
            self._answered.clear()
            await self._answered.wait()

    async def _handle(self, message: Message) -> None:
        try:
            await _settle([message], self._handler(message))
        finally:
            self._in_hand.discard(message)
            self._load -= self._weight(message)
            self._answered.set()


class BatchWorker:
    """One batch at a time."""

    def __init__(self, handler: BatchHandler, batch: int, linger: timedelta, ack_wait: timedelta) -> None:
        if batch < 1:
            raise ValueError("batch: at least 1")
        self._handler = handler
        self._batch = batch
        self._linger = linger
        self._ack_wait = ack_wait
        self._in_hand: list[Message] = []

    def in_hand(self) -> Iterable[Message]:
        """See Worker."""
        return tuple(self._in_hand)

    async def work(self, pull: Pull, tasks: TaskSet) -> None:
        """See Worker."""
        helper = tasks.spawn(_keep_alive(self, pull, self._ack_wait), name="in progress")
        try:
            while True:
                if pull.idle:
                    await pull.request(self._batch)
                await self._collect(pull)
                if self._in_hand:
                    await _settle(self._in_hand, self._handler(tuple(self._in_hand)))
                    self._in_hand.clear()
        finally:
            helper.cancel()

    async def finish(self) -> None:
        """See Worker: a batch is finished before its pull is given up."""

    async def _collect(self, pull: Pull) -> None:
        message = await pull.take()
        end = monotonic() + self._linger.total_seconds()
        while message is not None:
            self._in_hand.append(message)
            if len(self._in_hand) == self._batch:
                return
            try:
                message = await pull.take(max(timedelta(seconds=end - monotonic()), AT_HAND))
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


async def _keep_alive(worker: Worker, pull: Pull, ack_wait: timedelta) -> None:
    while True:
        await asyncio.sleep(ack_wait.total_seconds() / 3)
        for message in (*worker.in_hand(), *pull.waiting()):
            await message.in_progress()


async def _lose_on(stop: asyncio.Event, pull: Pull) -> None:
    await stop.wait()
    pull.lose("stopping")
