"""How much each caller may send: one bucket a caller, filled steadily, holding a minute's worth.

A call takes as much as it brings. One that brings more than a bucket holds needs a full one and leaves a debt, so that nobody sends more
than the rate for long and no call is refused for ever. Buckets are in memory and bounded: the one used longest ago is forgotten first.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

MAX_CALLERS: Final = 10_000
MINUTE: Final = 60.0


class CallerRates:
    """`per_minute` gives the rate in force; `monotonic` the seconds."""

    def __init__(
        self, per_minute: Callable[[], int], monotonic: Callable[[], float], max_callers: int = MAX_CALLERS
    ) -> None:
        self._per_minute = per_minute
        self._monotonic = monotonic
        self._max_callers = max_callers
        self._buckets: dict[str, tuple[float, float]] = {}
        """What is left and when that was so, the one used longest ago first."""

    def take(self, caller: str, count: int) -> timedelta:
        """Take `count` from the caller's bucket; zero if there was enough, otherwise nothing is taken and there is so long to wait."""
        full, now = self._per_minute(), self._monotonic()
        left, since = self._buckets.pop(caller, (float(full), now))
        left = min(float(full), left + (now - since) * full / MINUTE)
        missing = min(count, full) - left
        if len(self._buckets) >= self._max_callers:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[caller] = (left - count if missing <= 0 else left, now)
        return timedelta(seconds=max(0.0, missing) * MINUTE / full)
