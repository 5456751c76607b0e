"""What is no longer to be trusted although it has not ended yet: entries of a numbered feed that every service follows.

An entry is written in the transaction that ends something. Its number is given out under a lock that is held until the commit, so
numbers have no gaps and their order is that of the commits. It is forgotten once everything that it refuses has ended by itself.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

LONGEST_ACCESS_TOKEN: Final = timedelta(seconds=300)
"""No access token lives longer, whatever the settings say."""
KEEP: Final = LONGEST_ACCESS_TOKEN + timedelta(seconds=60)
"""How long entries about tokens are needed; the minute is for clocks that differ."""
KEEP_SIGNING_KEY: Final = timedelta(days=366)
"""Whoever has a stolen key can sign tokens at any time, so its entry stays long after every service has dropped the key."""


class RevocationKind(StrEnum):
    """What an entry names. Text as stored, and as the contract's enum without its prefix."""

    SESSION = "SESSION"
    USER = "USER"
    TOKEN = "TOKEN"  # noqa: S105 - a kind, not a token
    API_KEY = "API_KEY"
    SIGNING_KEY = "SIGNING_KEY"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry. `target_id` is an id of what `kind` says; for USER only tokens issued at or before `revoke_time` are meant."""

    sequence: int
    kind: RevocationKind
    target_id: str
    revoke_time: datetime
    expire_time: datetime


def kept_until(kind: RevocationKind, now: datetime) -> datetime:
    """When the entry may be forgotten."""
    return now + (KEEP_SIGNING_KEY if kind is RevocationKind.SIGNING_KEY else KEEP)
