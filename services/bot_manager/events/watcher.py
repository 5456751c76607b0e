"""What one watcher has not taken yet: at most so many events. One that falls behind is let go by the hub and reads on its own."""

import asyncio
from collections import deque
from datetime import timedelta
from typing import Final

from mesh.errors import Unavailable
from mesh.tasks import set_within
from services.bot_manager.domain.watching import Place, Told, Wanted

MAX_WAITING: Final = 500


class Watcher:
    """One reader's queue. `place` is where the reader is: behind the last event taken, or further where nothing matched."""

    def __init__(self, wanted: Wanted, place: Place) -> None:
        self.place = place
        self.is_behind = False
        self._wanted = wanted
        self._offered = place
        self._waiting: deque[Told] = deque()
        self._news = asyncio.Event()
        self._ended = ""

    def offer(self, told: Told) -> None:
        """Keep an event if it matches; beyond the bound this and all that follow are left to the store."""
        if self.is_behind or not self._wanted.matches(told.event):
            return
        if len(self._waiting) >= MAX_WAITING:
            self.is_behind = True
            return
        self._waiting.append(told)
        self._news.set()

    def offered(self, place: Place) -> None:
        """Everything up to there was offered."""
        if not self.is_behind:
            self._offered = place

    def end(self, why: str) -> None:
        """Nothing more comes; `why` is for the reader, who may come back."""
        self._ended = why
        self._news.set()

    async def next(self, patience: timedelta) -> Told | None:
        """What comes next; None if nothing came for so long, or nothing will because the reader is behind. Raises Unavailable."""
        if not (self._waiting or self._ended or self.is_behind):
            self._news.clear()
            await set_within(self._news, patience)
        if self._ended:
            raise Unavailable("SHUTTING_DOWN", self._ended, retry_after=timedelta(0))
        if self._waiting:
            told = self._waiting.popleft()
            self.place = told.place
            return told
        if not self.is_behind:
            self.place = self._offered
        return None
