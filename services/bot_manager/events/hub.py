"""Reads what happens once a process, however many watch, and hands it to those it concerns.

    commit here, or a hint (NATS) ─▶ wake ─▶ tick ─▶ events behind the last place ─▶ each watcher's queue ─▶ its stream
                                     └ twice a second while somebody watches, else every few seconds, so that no tick grows long

A watcher begins on its own: it reads from the store until it is where the hub is, and joins between two steps of the loop, so that
there is neither a hole nor a double at the seam. One whose queue is full leaves the hub and begins again from where it is: it costs no
memory, loses nothing, and nobody waits for it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import timedelta
from typing import Final, Protocol

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError, OutOfRange, ResourceExhausted, Unavailable
from mesh.tasks import set_within
from services.bot_manager.domain.watching import Batch, Place, Told, Wanted
from services.bot_manager.events.ticks import Tick
from services.bot_manager.events.watcher import Watcher

WATCHED: Final = timedelta(milliseconds=500)
UNWATCHED: Final = timedelta(seconds=5)
LEAST_PAUSE: Final = timedelta(milliseconds=50)
RETRY: Final = timedelta(seconds=1)
PATIENCE: Final = timedelta(seconds=10)
"""A quiet stream says so as often; the contract promises 15 seconds."""
CATCHING_UP: Final = 4
"""Watchers that read on their own at the same time; the others wait, so that the pool keeps room for calls."""
EVENTS_A_STEP: Final = 50
STOPPING: Final = "this server is stopping; resume elsewhere"


class Ticking(Protocol):
    """See `events/ticks.py`."""

    async def tick(self) -> Tick: ...


class Following(Protocol):
    """See `events/reading.py`."""

    async def after(self, place: Place) -> Batch: ...


class Hub:
    """`max_open` gives how many may watch, `made` is told the number of each tick made here, and a stream that has been quiet for
    `patience` says so."""

    def __init__(
        self,
        ticks: Ticking,
        events: Following,
        max_open: Callable[[], int],
        clock: Clock,
        *,
        made: Callable[[int], None] = lambda number: None,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._ticks = ticks
        self._events = events
        self._max_open = max_open
        self._clock = clock
        self._made = made
        self._patience = patience
        self._watchers: set[Watcher] = set()
        self._place = Place(0)
        self._open = 0
        self._wake = asyncio.Event()
        self._catching_up = asyncio.Semaphore(CATCHING_UP)
        self._closed = False

    def __len__(self) -> int:
        """How many watch live."""
        return len(self._watchers)

    def wake(self) -> None:
        """Look now, if anybody watches: there is reason to believe that something happened."""
        if self._watchers:
            self._wake.set()

    def close(self) -> None:
        """End all streams; the process is stopping."""
        self._closed = True
        self._end_all(STOPPING)

    async def run(self) -> None:
        """Look and tell until cancelled. Survives the loss of the database; watchers wait meanwhile."""
        away = False
        while True:
            self._wake.clear()
            try:
                await self._look()
                away = False
            except OutOfRange:
                self._end_all("events begin anew; resume")
            except MeshError as error:
                logger.bind(reason=error.reason).log("DEBUG" if away else "WARNING", "events not readable")
                away = True
                await self._clock.sleep(RETRY)
            except Exception:
                self._end_all("events could not be read; resume")
                raise
            await self._clock.sleep(LEAST_PAUSE)
            await set_within(self._wake, WATCHED if self._watchers else UNWATCHED)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Counts a watcher. Raises ResourceExhausted beyond the limit, Unavailable once the process is stopping."""
        self._check_open()
        if self._open >= self._max_open():
            raise ResourceExhausted("OVERLOADED", "too many watch already", retry_after=timedelta(seconds=5))
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def now(self) -> Place:
        """Behind all that is committed by now. Raises Unavailable, DeadlineExceeded."""
        return Place((await self._ticks.tick()).number)

    async def follow(self, wanted: Wanted, place: Place) -> AsyncGenerator[Told | Place, None]:
        """What is wanted of all behind a place, for ever; a place alone is a sign of life.

        Raises Unavailable when the process stops or the database is away, OutOfRange (RESUME_TOKEN_EXPIRED) if events are gone.
        """
        at_head, heard = False, self._clock.monotonic()
        while True:
            watcher = self._join(wanted, place, at_head=at_head)
            if watcher is not None:
                async with aclosing(self._live(watcher)) as live:
                    async for item in live:
                        yield item
                place, at_head, heard = watcher.place, False, self._clock.monotonic()
            elif at_head:
                await self._clock.sleep(LEAST_PAUSE)
            async with self._catching_up:
                batch = await self._events.after(place)
            for told in batch.told:
                if wanted.matches(told.event):
                    yield told
                    heard = self._clock.monotonic()
            at_head, place = batch.place == place, batch.place
            if self._clock.monotonic() - heard >= self._patience.total_seconds():
                yield place
                heard = self._clock.monotonic()

    async def _live(self, watcher: Watcher) -> AsyncGenerator[Told | Place, None]:
        """What the hub offers, until the reader is behind and has taken what waits."""
        try:
            while True:
                told = await watcher.next(self._patience)
                if told is None and watcher.is_behind:
                    return
                yield watcher.place if told is None else told
        finally:
            self._watchers.discard(watcher)

    def _join(self, wanted: Wanted, place: Place, *, at_head: bool) -> Watcher | None:
        """The watcher, if the hub takes over from here. Nothing waits in here: the hub cannot begin another batch meanwhile."""
        self._check_open()
        if place != self._place and (self._watchers or not at_head):
            return None
        self._place = place
        watcher = Watcher(wanted, place)
        self._watchers.add(watcher)
        self.wake()
        return watcher

    async def _look(self) -> None:
        tick = await self._ticks.tick()
        if tick.made:
            self._made(tick.number)
        while self._watchers:
            place = self._place
            batch = await self._events.after(place)
            if batch.place == place:
                return
            if place == self._place:  # else all left meanwhile, and one that came began elsewhere
                self._place = batch.place
                await self._hand_out(batch)

    async def _hand_out(self, batch: Batch) -> None:
        """To those who watch now: whoever joins from here on is behind the batch already."""
        watchers = list(self._watchers)
        for index, told in enumerate(batch.told):
            for watcher in watchers:
                watcher.offer(told)
            if index % EVENTS_A_STEP == EVENTS_A_STEP - 1:
                await asyncio.sleep(0)
        for watcher in watchers:
            watcher.offered(batch.place)
            if watcher.is_behind:
                self._watchers.discard(watcher)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("SHUTTING_DOWN", STOPPING, retry_after=timedelta(0))

    def _end_all(self, why: str) -> None:
        for watcher in self._watchers:
            watcher.end(why)
        self._watchers.clear()
