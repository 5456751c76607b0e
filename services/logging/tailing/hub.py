"""Reads each new batch once a process, however many tails are open, and hands its records to those they match.

    stored → hint (NATS) ─▶ wake ─▶ batches behind the last one begun ─▶ records ─▶ each tail's queue ─▶ its stream
                            └ at least once a second while a tail is open; nothing is read while none is

A tail begins on its own: it reads the matching records behind its place until it is as far as the hub, and joins between two steps of
the loop, so that there is neither a hole nor a double at the seam. Whoever resumes far behind reads at the own pace and loses nothing.

The hub reads a bounded number of records a second. If more wait than it may read in two seconds it leaves whole batches out, the oldest
first, and every tail gets a gap; so it does with a batch that cannot be read in time. What was left out is in the store, and QueryLogs
shows it. The count of such a gap is of all records of the batch, since nobody knows which would have matched.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import product

from loguru import logger

from mesh.clock import Clock
from mesh.errors import DeadlineExceeded, InvalidArgument, MeshError, ResourceExhausted, Unavailable
from mesh.tasks import set_within
from services.logging.domain.following import Batch, Gap, Key, Place, Quiet, Row
from services.logging.domain.records import Filter
from services.logging.store.following import StoredBatches
from services.logging.tailing.pace import Pace
from services.logging.tailing.tail import Tail, weight_of

POLL = timedelta(seconds=1)
RETRY = timedelta(seconds=1)
BATCHES_A_LOOK = 1_000
RECORDS_A_READ = 500
ROWS_A_STEP = 25
"""Rows handed out before others get their turn: with 200 tails a step takes a few milliseconds."""
BREATH = timedelta(milliseconds=100)
"""What the readers of full queues may cost the others, for as many records as are read at once."""
CATCHING_UP = 4
"""Tails that read on their own at the same time; the others wait, so that the pool keeps room for calls."""
PATIENCE = timedelta(seconds=4)
"""A quiet tail says so as often; 20 seconds of silence are a dead connection to clients."""
LEAST_PAUSE = timedelta(milliseconds=50)
STOPPING = "this server is stopping; resume elsewhere"


class Hub:
    """See the module. `max_open` gives how many tails may be open, `poll` the longest time between two looks at the database, and a
    tail that has been quiet for `patience` says so."""

    def __init__(
        self,
        store: StoredBatches,
        pace: Pace,
        max_open: Callable[[], int],
        clock: Clock,
        *,
        poll: timedelta = POLL,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._store = store
        self._pace = pace
        self._max_open = max_open
        self._clock = clock
        self._poll = poll
        self._patience = patience
        self._tails: set[Tail] = set()
        self._open = 0
        self._begun = 0
        self._wake = asyncio.Event()
        self._catching_up = asyncio.Semaphore(CATCHING_UP)
        self._closed = False

    def __len__(self) -> int:
        """How many tails are live."""
        return len(self._tails)

    def wake(self) -> None:
        """Look at the database now: there is reason to believe that something was stored."""
        self._wake.set()

    def close(self) -> None:
        """End all tails; the process is stopping."""
        self._closed = True
        self._end_all(STOPPING)

    async def run(self) -> None:
        """Read until cancelled. Survives the loss of the database; tails wait meanwhile."""
        away = False
        while True:
            self._wake.clear()
            try:
                while self._tails and await self._advance():
                    pass
                away = False
            except MeshError as error:
                logger.bind(reason=error.reason).log("DEBUG" if away else "WARNING", "batches not readable")
                away = True
                await self._clock.sleep(RETRY)
            except Exception:
                # A batch was begun and not finished. Tails resume by their tokens and miss nothing.
                self._end_all("records could not be read; resume")
                raise
            await set_within(self._wake, self._poll)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Counts a tail as open. Raises ResourceExhausted beyond the limit, Unavailable once the process is stopping."""
        if self._closed:
            raise Unavailable("SHUTTING_DOWN", STOPPING, retry_after=timedelta(0))
        if self._open >= self._max_open():
            raise ResourceExhausted("OVERLOADED", "too many tails are open", retry_after=timedelta(seconds=5))
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def follow(self, wanted: Filter, start: Place) -> AsyncGenerator[Row | Gap | Quiet, None]:
        """Everything behind a place, for ever. Raises Unavailable when the process stops, InvalidArgument once batches are gone."""
        tail, key, at_head = Tail(wanted, start.number), start.key, False
        while not self._join(tail, key, at_head):
            if at_head:
                await self._clock.sleep(LEAST_PAUSE)
            async with self._catching_up:
                waiting = await self._store.after(tail.after, BATCHES_A_LOOK)
            at_head = not waiting
            if waiting and waiting[0].number != tail.after + 1:
                raise forgotten()
            for group in _groups(waiting, alone=key is not None):
                async for event in self._missed(group, wanted, key):
                    yield event
                tail.told(group[-1].number)
                key = None
        try:
            while True:
                yield await tail.next(self._patience)
        finally:
            self._tails.discard(tail)

    def _join(self, tail: Tail, key: Key | None, at_head: bool) -> bool:
        """Whether the hub takes over from here. Nothing waits in here: the hub cannot begin another batch meanwhile."""
        if self._closed:
            raise Unavailable("SHUTTING_DOWN", STOPPING, retry_after=timedelta(0))
        if key is not None or (tail.after < self._begun if self._tails else not at_head):
            return False
        if not self._tails:
            self._begun = tail.after
        self._tails.add(tail)
        self.wake()
        return True

    async def _missed(
        self, group: Sequence[Batch], wanted: Filter, key: Key | None
    ) -> AsyncIterator[Row | Gap]:
        while True:
            try:
                async with self._catching_up:
                    rows = await self._store.matching(group, wanted, key, RECORDS_A_READ)
            except DeadlineExceeded:
                for batch in group:
                    yield batch.gap()
                return
            for row in _in_order(rows):
                yield row
            if len(rows) < RECORDS_A_READ or len(group) > 1:
                return
            key = rows[-1].key

    async def _advance(self) -> bool:
        """Hand out what is new; whether there was anything."""
        found = await self._store.after(self._begun, BATCHES_A_LOOK)
        waiting = [batch for batch in found if batch.number > self._begun]
        if waiting:
            self._begun = waiting[0].number - 1  # what is between was pruned since
        excess = sum(batch.record_count for batch in waiting) - self._pace.most
        while excess > 0:
            excess -= waiting[0].record_count
            self._skip(waiting.pop(0))
        for group in _groups(waiting, alone=False):
            await self._pace.take(sum(batch.record_count for batch in group))
            if not self._tails or group[0].number != self._begun + 1:
                break  # all have left; one that came since begins elsewhere
            await self._hand_out(group)
        return bool(found)

    def _skip(self, batch: Batch) -> None:
        self._begun = batch.number
        for tail in self._tails:
            tail.skip(batch)

    async def _hand_out(self, group: Sequence[Batch]) -> None:
        self._begun = group[-1].number
        tails, key = list(self._tails), None
        texts = {tail.wanted.text for tail in tails if tail.wanted.text}
        while True:
            try:
                rows = await self._read(group, texts, key)
            except DeadlineExceeded:
                for tail, batch in product(tails, group):
                    tail.skip(batch)
                return
            await self._let_take(tails)
            for place, row in enumerate(_in_order(rows)):
                weight = weight_of(row)
                for tail in tails:
                    tail.offer(row, weight)
                if place % ROWS_A_STEP == ROWS_A_STEP - 1:
                    await asyncio.sleep(0)
            if len(rows) < RECORDS_A_READ or len(group) > 1:
                break
            key = rows[-1].key
        for tail in tails:
            tail.told(group[-1].number)

    async def _let_take(self, tails: Sequence[Tail]) -> None:
        """A reader who keeps up on the whole must not lose records to a burst: give those who have much waiting a moment."""
        end = self._clock.monotonic() + BREATH.total_seconds()
        while self._clock.monotonic() < end and any(tail.is_pressed for tail in tails):
            await self._clock.sleep(BREATH / 10)

    async def _read(self, group: Sequence[Batch], texts: set[str], key: Key | None) -> list[Row]:
        """Rows of a batch that was begun: while the database is away there is nothing to do but wait. Raises DeadlineExceeded for a
        batch that cannot be read in time, such as one whose times lie days apart: another attempt would take as long."""
        while True:
            try:
                return await self._store.rows(group, texts, key, RECORDS_A_READ)
            except DeadlineExceeded:
                logger.bind(batch=group[0].number).warning("batch left out of tails")
                raise
            except MeshError as error:
                logger.bind(reason=error.reason).warning("records not readable")
                await self._clock.sleep(RETRY)

    def _end_all(self, why: str) -> None:
        for tail in self._tails:
            tail.end(why)
        self._tails.clear()


def forgotten() -> InvalidArgument:
    """For a place that this store does not know, or not any more."""
    return InvalidArgument(
        "INVALID_PAGE_TOKEN",
        "resume_token is not of this server or older than its records; start again without it",
        field="resume_token",
    )


def _groups(waiting: Sequence[Batch], *, alone: bool) -> Iterator[Sequence[Batch]]:
    """Neighbours that can be read at once, or one that takes several reads; the first stands alone if it was begun before."""
    group: list[Batch] = []
    count = 0
    for batch in waiting:
        if group and (alone or count + batch.record_count >= RECORDS_A_READ):
            yield group
            group, count, alone = [], 0, False
        group.append(batch)
        count += batch.record_count
    if group:
        yield group


def _in_order(rows: Sequence[Row]) -> Sequence[Row]:
    return sorted(rows, key=lambda row: (row.number, row.key))
