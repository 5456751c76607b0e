"""The newest revisions, read once a process and told to all of its watchers.

One loop reads the head of the history: when this process has written, when NATS hints that another has, and at least once a second.
What it finds is kept in a short window; a watcher further behind reads the log from its own revision, at its own pace. So nothing is
buffered for anybody, a lost hint costs at most a second, and a thousand watchers cost one reader.

`follow` is a watcher's whole life after its start: transactions in order, bookmarks in between, and never a silent gap.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeAlias

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError, Unavailable
from mesh.tasks import set_within
from services.configuration.domain.changes import Head, Transaction
from services.configuration.domain.position import Lost, lost
from services.configuration.store.ports import Store

BATCH = 100
"""Transactions read from the log at a time."""
WINDOW_CHANGES = 1000
"""Changes kept for watchers that are up to date; at 64 KiB a value this bounds the window at 64 MiB."""
BOOKMARK_INTERVAL = timedelta(seconds=4)
"""The contract promises one every 5 seconds; one second is for the way."""
LEAST_PAUSE = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class Told:
    """A bookmark: everything up to `revision` has been sent, and was everything at `time`."""

    revision: int
    time: datetime


@dataclass(frozen=True, slots=True)
class Stop:
    """The watcher cannot go on."""

    why: Lost
    head: Head


Event: TypeAlias = Transaction | Told | Stop


def always(head: Head) -> bool:
    """Any history may be told."""
    return True


class Feed:
    """See the module. `poll` gives the longest time between two looks at the database; nobody is told a history that has not `begun`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        poll: Callable[[], timedelta],
        begun: Callable[[Head], bool] = always,
    ) -> None:
        self._store = store
        self._clock = clock
        self._poll = poll
        self._begun = begun
        self._head: Head | None = None
        self._window: deque[Transaction] = deque()
        self._changes = 0
        self._reading = asyncio.Lock()
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._closed = False

    def wake(self) -> None:
        """Look at the database now: there is reason to believe that something changed."""
        self._wake.set()

    def close(self) -> None:
        """End all streams; the process is stopping."""
        self._closed = True
        self._tell()

    async def run(self) -> None:
        """Keep looking until cancelled. Survives the loss of the database; meanwhile there are no bookmarks."""
        away = False
        while True:
            self._wake.clear()
            try:
                await self.refresh()
                away = False
            except MeshError as error:
                logger.bind(reason=error.reason).log("DEBUG" if away else "WARNING", "history not readable")
                away = True
                await self._clock.sleep(self._poll())
            await set_within(self._wake, self._poll())

    async def refresh(self) -> Head:
        """The head as it is in the database now. Raises Unavailable."""
        async with self._reading:
            # One reader at a time: an answer overtaken by a later one would make the history seem to go back.
            head = await self._store.head()
            if not self._begun(head):
                raise Unavailable(
                    "POLICY_NOT_LOADED",
                    "the product's own roles are not in the history yet",
                    retry_after=timedelta(seconds=1),
                )
            before = self._head
            if before is None or head.history_id != before.history_id or head.revision < before.revision:
                self._forget()
            elif head.revision > before.revision:
                await self._extend(before.revision, head.revision)
            self._head = head
        if before is None or (before.history_id, before.revision) != (head.history_id, head.revision):
            self._tell()
        return head

    @property
    def head(self) -> Head:
        """The head as last read. Raises Unavailable before the first look, and once the process is stopping."""
        if self._closed:
            raise Unavailable("SHUTTING_DOWN", "this server is stopping", retry_after=timedelta(0))
        if self._head is None:
            raise Unavailable(
                "DATABASE_UNAVAILABLE", "the history was not read yet", retry_after=timedelta(seconds=1)
            )
        return self._head

    @property
    def news(self) -> asyncio.Event:
        """Is set when the head moves on. Take it before looking at the head, then wait: nothing falls between."""
        return self._news

    async def after(self, revision: int, upto: int) -> Sequence[Transaction]:
        """The next transactions after `revision`, none beyond `upto`; from the window, else from the log."""
        if self._window and self._window[0].revision <= revision + 1:
            first = revision + 1 - self._window[0].revision
            return list(islice(self._window, first, first + min(upto - revision, BATCH)))
        async with self._store.read() as reader:
            return await reader.log.transactions(revision, upto, BATCH)

    async def _extend(self, known: int, newest: int) -> None:
        if newest - known > BATCH:
            self._forget()  # too far behind: watchers read the log themselves
            return
        async with self._store.read() as reader:
            read = await reader.log.transactions(known, newest, BATCH)
        if [transaction.revision for transaction in read] != list(range(known + 1, newest + 1)):
            self._forget()  # compacted since the head was read: a window with a gap would be told as none
            return
        for transaction in read:
            self._window.append(transaction)
            self._changes += len(transaction.changes)
        while self._changes > WINDOW_CHANGES:
            self._changes -= len(self._window.popleft().changes)

    def _forget(self) -> None:
        self._window.clear()
        self._changes = 0

    def _tell(self) -> None:
        told, self._news = self._news, asyncio.Event()
        told.set()


async def follow(
    feed: Feed, position: int, history_id: str, clock: Clock, interval: timedelta = BOOKMARK_INTERVAL
) -> AsyncIterator[Event]:
    """Everything after revision `position` of a history, for ever: each transaction once and in order, then bookmarks.

    Ends after a Stop. Raises Unavailable when the process stops or the log cannot be read; the watcher comes back with its revision.
    """
    told: Told | None = None
    told_at = 0.0
    while True:
        news, head = feed.news, feed.head
        why = lost(head, position, history_id)
        while why is None and position < head.revision:
            batch = await feed.after(position, head.revision)
            if not batch or batch[0].revision != position + 1:
                # Compacted since the head was read. Say what is kept now.
                head = await feed.refresh()
                why = lost(head, position, history_id) or Lost.TOO_SLOW
                break
            for transaction in batch:
                yield transaction
                position = transaction.revision
        if why is not None:
            yield Stop(why, head)
            return
        if told is None or (
            head.read_time > told.time and clock.monotonic() - told_at >= interval.total_seconds()
        ):
            told, told_at = Told(head.revision, head.read_time), clock.monotonic()
            yield told
        # At least a moment, so that an old head does not make us spin.
        left = timedelta(seconds=told_at - clock.monotonic()) + interval
        await set_within(news, max(LEAST_PAUSE, left))
