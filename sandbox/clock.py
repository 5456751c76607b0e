"""The sandbox's one notion of time, and how X writes an instant.

Everything that depends on time takes a `Clock`, so that tests move it by hand. Waiting (a slow answer, a held
connection) is the event loop's business and does not go through this clock.
"""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
"""Seconds since the Unix epoch, as `time.time` gives them."""


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
