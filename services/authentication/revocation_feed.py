"""The revocations in force, read once a process and told to every service that watches.

One loop reads what has been added: when this process has committed an entry, when NATS hints that another has, and every POLL. A hint
that gets lost costs that long and nothing else. Each look that succeeds is told as a heartbeat, each second, with the time of the
look; while the database is away there is none, so that watchers know how old their knowledge is.

Entries in force are few (they are about tokens, which live for minutes), so a watcher that is not up to date gets all of them.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError, Unavailable
from mesh.tasks import set_within
from services.authentication.domain.revocation import Revocation
from services.authentication.store.ports import Store

POLL: Final = timedelta(milliseconds=500)
HEARTBEAT: Final = timedelta(seconds=1)
PACE: Final = HEARTBEAT - POLL / 2
"""A heartbeat is due when this much has passed: looks come every POLL, and the one nearest to the second is meant."""
BATCH: Final = 5_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All entries in force; the feed goes on after `sequence`."""

    sequence: int
    entries: tuple[Revocation, ...]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`sequence` was the newest number at `time`."""

    sequence: int
    time: datetime


Event: TypeAlias = Snapshot | Revocation | Heartbeat


class RevocationFeed:
    """See the module."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._entries: dict[int, Revocation] = {}
        self._sequence = -1
        self._read_time: datetime | None = None
        self._reading = asyncio.Lock()
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._closed = False

    def wake(self) -> None:
        """Look now: there is reason to believe that something was added."""
        self._wake.set()

    def close(self) -> None:
        """End all streams; the process is stopping."""
        self._closed = True
        self._tell()

    async def run(self) -> None:
        """Keep looking until cancelled. Survives the loss of the database; meanwhile there are no heartbeats."""
        away = False
        while True:
            self._wake.clear()
            try:
                await self.refresh()
                away = False
            except MeshError as error:
                logger.bind(reason=error.reason).log(
                    "DEBUG" if away else "WARNING", "revocations not readable"
                )
                away = True
            await set_within(self._wake, POLL)

    async def refresh(self) -> None:
        """Read what was added. Raises Unavailable."""
        async with self._reading:
            now = self._clock.now()
            async with self._store.read() as unit:
                newest = await unit.revocations.newest_sequence()
                if newest < self._sequence:  # another database than before: whatever was known is not its
                    self._sequence, self._entries = -1, {}
                known = self._sequence
                while True:
                    batch = await unit.revocations.after(known, now, BATCH)
                    self._entries |= {entry.sequence: entry for entry in batch}
                    known = max(known, newest if len(batch) < BATCH else 0, *(e.sequence for e in batch))
                    if len(batch) < BATCH:
                        break
            self._entries = {number: e for number, e in self._entries.items() if e.expire_time > now}
            self._sequence, self._read_time = known, now
        self._tell()

    async def watch(self, from_sequence: int) -> AsyncGenerator[Event, None]:
        """What came after `from_sequence`, or all in force; then each new entry, and a heartbeat each second, for ever.

        A watcher that cannot be told one by one what it missed gets all in force, also later on. Raises Unavailable before the first
        look, and when the process stops.
        """
        position = from_sequence or -1
        told: datetime | None = None
        told_at = self._clock.monotonic() - HEARTBEAT.total_seconds()
        while True:
            news = self._news
            self._check_open()
            if not 0 <= position <= self._sequence:
                position = self._sequence
                yield Snapshot(position, tuple(self._entries[number] for number in sorted(self._entries)))
            while position < self._sequence:
                entry = self._entries.get(position + 1)
                position = -1 if entry is None else position + 1  # None: over before this watcher came to it
                if entry is None:
                    break
                yield entry
            if position < 0:
                continue
            if self._read_time != told and self._clock.monotonic() - told_at >= PACE.total_seconds():
                told, told_at = self._read_time, self._clock.monotonic()
                if told is not None:
                    yield Heartbeat(position, told)
            await set_within(news, HEARTBEAT)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("SHUTTING_DOWN", "this server is stopping", retry_after=timedelta(0))
        if self._read_time is None:
            raise Unavailable(
                "DATABASE_UNAVAILABLE", "revocations were not read yet", retry_after=timedelta(seconds=1)
            )

    def _tell(self) -> None:
        told, self._news = self._news, asyncio.Event()
        told.set()
