"""When the counters of a post are read: often while it is new, once a day later, and not after it was followed for long enough."""

from datetime import datetime, timedelta
from itertools import takewhile
from typing import Final

FIRST: Final = timedelta(minutes=15)
STEPS: Final = (FIRST, *(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24)))
DAY: Final = timedelta(days=1)


def first_read(publish_time: datetime | None) -> datetime | None:
    """For the first time; None for what is not on X."""
    return None if publish_time is None else publish_time + FIRST


def next_read(publish_time: datetime, now: datetime, follow: timedelta) -> datetime | None:
    """The next time after now; None if it lies more than `follow` after the publishing, or if nothing is followed."""
    age = now - publish_time
    passed = len(list(takewhile(lambda step: step <= age, STEPS)))
    step = STEPS[passed] if passed < len(STEPS) else DAY * (age // DAY + 1)
    return publish_time + step if step <= follow else None
