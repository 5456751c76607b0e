"""How failed sign-ins slow down the next ones.

An attempt is counted before its password is looked at and taken back when it was right, so that guesses made side by side count
too. The first few are free, then each failure doubles the pause up to a bound: an account is slowed down and never locked. A count
is forgotten some time after its last failure. Pure arithmetic; the store keeps the numbers, shared by all replicas.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

FORGET_AFTER: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class ThrottleRule:
    """The numbers in force."""

    free_attempts: int = 10
    """Failures in a row before the first pause."""
    first_pause: timedelta = timedelta(seconds=1)
    longest_pause: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Attempts:
    """What is known of one lane: failures in a row, the last one's time, and when the next attempt may come."""

    failures: int
    last_time: datetime
    next_time: datetime


def count(before: Attempts | None, rule: ThrottleRule, now: datetime) -> Attempts | None:
    """The lane after one more attempt, or None if it comes too early (and does not count)."""
    if before is not None and now - before.last_time > FORGET_AFTER:
        before = None
    if before is not None and now < before.next_time:
        return None
    failures = (before.failures if before else 0) + 1
    return Attempts(failures, now, now + pause(failures, rule))


def pause(failures: int, rule: ThrottleRule) -> timedelta:
    """How long to wait after that many failures in a row."""
    over = failures - rule.free_attempts
    if over <= 0:
        return timedelta()
    return min(rule.longest_pause, rule.first_pause * (1 << min(over - 1, 30)))


def account_lane(normal_name: str) -> bytes:
    """Key of the lane of one account, 32 bytes. Names that nobody has get one too, so that they behave alike; only a hash is kept,
    because people type passwords into the wrong field."""
    return hashlib.sha256(b"account\x00" + normal_name.encode("utf-8", "surrogatepass")).digest()
