"""A history in memory, for tests of the feed: real transactions, no database, and failures when a test asks for them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mesh.errors import Unavailable
from services.configuration.domain.changes import Author, Cause, Head, SettingChange, Transaction
from services.configuration.domain.values import Stored

START = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryHistory:
    """Implements as much of `ports.Store` as the feed reads. Each look at the head is a second later than the one before."""

    def __init__(self, history_id: str = "one") -> None:
        self.log_reads = 0
        self.failing = False
        self._now = START
        self._log_of: list[Transaction] = []
        self._head = Head(0, history_id, 0, START, START)

    def append(self, value: object = 1) -> int:
        """One more revision, changing one setting."""
        revision = self._head.revision + 1
        change = SettingChange("logging.a", None, Stored(value), value, Cause.UPDATE)
        self._log_of.append(Transaction(revision, Author("ana"), START, (change,)))
        self._head = replace(self._head, revision=revision)
        return revision

    def compact(self, oldest: int) -> None:
        """Forget revisions up to `oldest`."""
        self._log_of = [transaction for transaction in self._log_of if transaction.revision > oldest]
        self._head = replace(self._head, oldest_revision=oldest)

    def restore(self, revision: int, history_id: str) -> None:
        """Go back to a backup."""
        self._log_of = [transaction for transaction in self._log_of if transaction.revision <= revision]
        self._head = replace(self._head, revision=revision, history_id=history_id)

    async def head(self) -> Head:
        """See the port."""
        if self.failing:
            raise Unavailable("DATABASE_UNAVAILABLE", "away")
        self._now += timedelta(seconds=1)
        return replace(self._head, read_time=self._now)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        """A reader with a log."""
        yield self

    def write(self) -> Any:
        """Nothing here writes through the port."""
        raise NotImplementedError

    @property
    def log(self) -> "MemoryHistory":
        """The log is this object."""
        return self

    async def transactions(self, after: int, upto: int, limit: int) -> Sequence[Transaction]:
        """See the port."""
        self.log_reads += 1
        return [item for item in self._log_of if after < item.revision <= min(upto, after + limit)]
