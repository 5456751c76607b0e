"""The sandbox's one notion of time, and how X writes an instant.

Everything that depends on time takes a `Clock`, so that tests move it by hand. Waiting (a slow answer, a held
connection) is the event loop's business and does not go through this clock.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime

Clock = Callable[[], float]
"""Seconds since the Unix epoch, as `time.time` gives them."""


class SkewedClock:
    """A clock that may be made to run ahead of another, or behind it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return self._clock() + self.ahead_seconds


def rfc3339(milliseconds: int) -> str:
    """An instant in milliseconds since the epoch as X writes it: UTC, three decimals, `Z`."""
    instant = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def milliseconds_of(text: str) -> int:
    """Read an RFC 3339 instant that names its offset.

    Raises:
        ValueError: `text` is no instant, or has no offset.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("an instant must name its offset, for example with a trailing Z")
    return round(instant.timestamp() * 1000)


def http_date(seconds: float) -> str:
    """An instant as a Date header has it."""
    return format_datetime(datetime.fromtimestamp(int(seconds), UTC), usegmt=True)
