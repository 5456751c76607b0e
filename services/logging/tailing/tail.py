"""What one tail has not taken yet: at most so many records and so many bytes; beyond that a gap that counts.

A tail that has begun to leave out goes on doing so until its reader has taken half of what waits, so that a reader who is always a
little too slow gets stretches of records between few gaps, and not a gap behind every record.
"""

import asyncio
from collections import deque
from datetime import timedelta

from mesh.errors import Unavailable
from mesh.tasks import set_within
from services.logging.domain.following import Batch, Gap, Place, Quiet, Row
from services.logging.domain.records import Filter
from services.logging.tailing.matching import matches

MAX_WAITING_RECORDS = 1_000
MAX_WAITING_BYTES = 1024 * 1024
RECORD_BYTES = 512
"""What a record takes besides its text, about."""


class Tail:
    """One reader's queue. `after` is the last batch that it was told whole."""

    def __init__(self, wanted: Filter, after: int) -> None:
        self.wanted = wanted
        self.after = after
        self._waiting: deque[Row | Gap] = deque()
        self._bytes = 0
        self._leaving_out = False
        self._news = asyncio.Event()
        self._told = Place(after)
        self._ended = ""

    @property
    def is_pressed(self) -> bool:
        """Whether a burst could make it leave out records, which it does not do yet."""
        return not (self._leaving_out or self._has_room)

    def offer(self, row: Row, weight: int) -> None:
        """Keep a row of a new batch if it matches; `weight` is what it takes in memory, in bytes."""
        if row.number <= self.after or not matches(self.wanted, row):
            return
        if self._leaving_out or len(self._waiting) >= MAX_WAITING_RECORDS or self._bytes > MAX_WAITING_BYTES:
            self._leaving_out = True
            self._leave_out(Gap(1, row.record.time, row.record.time, row.place))
            return
        self._bytes += weight
        self._put(row)

    def skip(self, batch: Batch) -> None:
        """A whole batch was not even read. Its count is of all its records, since nobody knows which would have matched."""
        if batch.number > self.after:
            self.after = batch.number
            self._leave_out(batch.gap())

    def told(self, number: int) -> None:
        """All of the batches up to `number` was offered."""
        self.after = max(self.after, number)

    def end(self, why: str) -> None:
        """Nothing more comes; `why` is for the reader, who may come back."""
        self._ended = why
        self._news.set()

    async def next(self, patience: timedelta) -> Row | Gap | Quiet:
        """What comes next, or that nothing came for so long. Raises Unavailable when the tail was ended."""
        if not self._waiting and not self._ended:
            self._news.clear()
            await set_within(self._news, patience)
        if self._ended:
            raise Unavailable("SHUTTING_DOWN", self._ended, retry_after=timedelta(0))
        if not self._waiting:
            self._told = max(self._told, Place(self.after), key=_order)
            return Quiet(self._told)
        event = self._waiting.popleft()
        if isinstance(event, Row):
            self._bytes -= weight_of(event)
        if self._has_room:
            self._leaving_out = False
        self._told = event.place
        return event

    @property
    def _has_room(self) -> bool:
        return len(self._waiting) <= MAX_WAITING_RECORDS // 2 and self._bytes <= MAX_WAITING_BYTES // 2

    def _leave_out(self, gap: Gap) -> None:
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, Gap):
            last.widen(gap)
        else:
            self._put(gap)

    def _put(self, event: Row | Gap) -> None:
        self._waiting.append(event)
        self._news.set()


def weight_of(row: Row) -> int:
    """What a row takes in memory, in bytes, about."""
    return RECORD_BYTES + len(row.record.body) + len(repr(row.record.attributes))


def _order(place: Place) -> tuple[int, bool]:
    return place.number, place.key is not None
