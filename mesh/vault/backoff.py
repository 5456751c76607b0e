"""When to try again: exponential delay with jitter, one trial per delay.

After `tolerance` failures in a row calls are refused without being tried; when the delay has passed exactly one is let through, and
its outcome ends the wait or doubles the delay. Failures of calls that were already under way do not lengthen it.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from mesh.clock import Clock

FIRST_DELAY_SECONDS: Final = 0.1
MAX_DELAY_SECONDS: Final = 5.0


class Backoff:
    """`jitter()` gives numbers in [0, 1); a delay is between half of and all of its nominal length."""

    def __init__(self, clock: Clock, jitter: Callable[[], float], tolerance: int = 1) -> None:
        self._clock = clock
        self._jitter = jitter
        self._tolerance = tolerance
        self._failures = 0
        self._nominal_seconds = 0.0
        self._until = 0.0
        self._on_trial = False

    def admit(self) -> timedelta | None:
        """None when the call may be tried; else how long to wait. Admitting a trial starts the next wait."""
        if left := self.left:
            return left
        if self._failures >= self._tolerance:
            self._on_trial = True
            self._wait()
        return None

    @property
    def left(self) -> timedelta:
        """Time until the next trial; zero when one may be made now."""
        if self._failures < self._tolerance:
            return timedelta()
        return timedelta(seconds=max(0.0, self._until - self._clock.monotonic()))

    def succeeded(self) -> None:
        """Ends the wait."""
        self._failures = 0
        self._nominal_seconds = 0.0
        self._on_trial = False

    def failed(self) -> None:
        """Counts a failure. The one that reaches the tolerance begins the wait, a failed trial doubles it."""
        self._failures += 1
        begins = self._failures >= self._tolerance and not self._nominal_seconds
        if begins or self._on_trial:
            self._on_trial = False
            self._nominal_seconds = min(
                max(self._nominal_seconds * 2, FIRST_DELAY_SECONDS), MAX_DELAY_SECONDS
            )
            self._wait()

    def _wait(self) -> None:
        length = self._nominal_seconds * (0.5 + self._jitter() / 2)
        self._until = self._clock.monotonic() + length
