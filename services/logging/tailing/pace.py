"""How many records may be read in a second: a bucket that fills steadily and holds two seconds' worth."""

from collections.abc import Callable
from datetime import timedelta

from mesh.clock import Clock

HELD_SECONDS = 2.0


class Pace:
    """`rate` gives the records a second in force."""

    def __init__(self, rate: Callable[[], int], clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._left = rate() * HELD_SECONDS
        self._filled = clock.monotonic()

    @property
    def most(self) -> int:
        """How many records may wait; with more the reader is too far behind ever to be called live."""
        return int(self._rate() * HELD_SECONDS)

    async def take(self, count: int) -> None:
        """Return once so many records may be read."""
        rate, now = self._rate(), self._clock.monotonic()
        self._left = min(rate * HELD_SECONDS, self._left + (now - self._filled) * rate) - count
        self._filled = now
        if self._left < 0:
            await self._clock.sleep(timedelta(seconds=-self._left / rate))
