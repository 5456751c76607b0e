"""Counts of failed sign-ins in memory: the arithmetic of the throttle for thousands of attempts without a database.

`tests/integration/services/authentication/test_attempts.py` holds it and PostgreSQL against the same promises.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from services.authentication.domain.throttle import Attempts
from services.authentication.domain.user import Credentials


class MemoryAttempts:
    """Implements `store.ports.AttemptStore` for one task at a time. `asked` counts what was asked of it."""

    def __init__(self) -> None:
        self.counts: dict[bytes, Attempts] = {}
        self.asked: list[tuple[str, int]] = []

    async def get(self, lanes: Collection[bytes]) -> dict[bytes, Attempts]:
        self.asked.append(("get", len(lanes)))
        return {lane: self.counts[lane] for lane in lanes if lane in self.counts}

    async def lock(self, lanes: Sequence[bytes], now: datetime) -> dict[bytes, Attempts]:
        self.asked.append(("lock", len(lanes)))
        assert list(lanes) == sorted(lanes)
        return {lane: self.counts.get(lane, Attempts(0, now, now)) for lane in lanes}

    async def put(self, counts: Mapping[bytes, Attempts]) -> None:
        self.asked.append(("put", len(counts)))
        self.counts.update(counts)

    async def forget(self, beginning: bytes) -> None:
        self.asked.append(("forget", 1))
        self.counts = {lane: count for lane, count in self.counts.items() if not lane.startswith(beginning)}


class MemoryStore:
    """A store that holds attempts, and accounts by name for those who look them up."""

    def __init__(self) -> None:
        self.attempts = MemoryAttempts()
        self.accounts: dict[str, Credentials] = {}
        self.users = self

    async def credentials_by_name(self, username: str) -> Credentials | None:
        """See UserStore."""
        return self.accounts.get(username)

    @asynccontextmanager
    async def transaction(self, *, concludes: bool = True) -> AsyncIterator[Any]:
        yield self

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        yield self
