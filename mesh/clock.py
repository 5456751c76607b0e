"""Time as an argument.

Whatever waits, expires or stamps takes a `Clock`, so tests turn it by hand (`tests/fakes/clock.py`) and never sleep.
`SystemClock` is the real one. Time-outs of network calls are the event loop's and stay outside of it.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """The wall-clock time, aware, in UTC. May step; never measure durations with it."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; only grows. For durations and deadlines within this process."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Returns once `duration` has passed; a negative one counts as zero. Always yields to other tasks."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    async def sleep(self, duration: timedelta) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(max(0.0, duration.total_seconds()))
