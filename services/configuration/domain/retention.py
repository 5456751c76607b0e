"""How much of the history is kept.

Compaction moves the oldest revision forward: what led to it is no longer told, the state at it and everything after it is. A revision
goes only when enough newer ones are kept and it is old enough.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.configuration.domain.changes import Head

STEP = 200
"""Revisions compacted in one transaction: writers wait for it."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What an operator wants kept: the newest `revisions`, and those younger than `age` (zero: by number only)."""

    revisions: int
    age: timedelta

    def reach(self, head: Head) -> int:
        """The furthest that one step may move the oldest revision, by number. Not beyond `head.oldest_revision`: nothing to do."""
        return min(head.revision - self.revisions, head.oldest_revision + STEP)

    def made_before(self, now: datetime) -> datetime | None:
        """Revisions must have been made by then to go; None: whenever they were made."""
        return now - self.age if self.age else None
