"""Partitions of days: made before records need them, and dropped when their retention is over.

A place whose partition cannot be made just now (a reader holds the default partition, the database is busy) is tried again after
RETRY; meanwhile its records go to the default partition, where they are found as well, and move over with the next attempt.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from functools import partial
from time import monotonic

from loguru import logger
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database, once_committed
from services.logging.domain.records import CONSOLE, DEBUG, TERMINAL, USER_ACTIVITY
from services.logging.domain.retention import Place

RETRY = timedelta(minutes=1)
BUSY = (LockNotAvailable, DeadlockDetected, QueryCanceled)
"""Others hold what making a partition needs for a moment."""
TABLE_NAMES = {USER_ACTIVITY: "user_activity", DEBUG: "debug", TERMINAL: "terminal", CONSOLE: "console"}
"""How the migrations call a category's tables: `records_<name>`."""


class Partitions:
    """Makes and drops partitions; remembers those that it made or found."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._there: set[Place] = set()
        self._not_before: dict[Place, float] = {}

    async def ensure(self, connection: AsyncConnection, places: Iterable[Place]) -> None:
        """Make those that are missing, within the connection's transaction. Raises nothing for one that cannot be made just now."""
        for place in sorted(set(places) - self._there):
            if self._not_before.get(place, 0.0) <= monotonic():
                await self._make(connection, place)

    async def ensure_ahead(self, places: Iterable[Place]) -> bool:
        """Make those that are missing, one at a time; whether all are there. Raises MeshError."""
        wanted = set(places)
        for place in wanted - self._there:
            async with self._database.transaction(concludes=False, wake=False) as connection:
                await self.ensure(connection, [place])
        return wanted <= self._there

    async def drop(self, category: int, before: date) -> int:
        """Drop the category's days before this one; how many there were. Yesterday and later are never dropped. Raises MeshError."""
        self._there.difference_update(
            {place for place in self._there if place[0] == category and place[1] < before}
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            values = {"category": TABLE_NAMES[category], "before": before}
            dropped = await connection.execute(text("SELECT drop_days(:category, :before)"), values)
            return int(dropped.scalar_one())

    async def merge_words(self, day: date) -> int:
        """Merge the words that wait beside the text indexes of a day; how many pages of them there were. Raises MeshError."""
        async with self._database.transaction(concludes=False, wake=False) as connection:
            merged = await connection.execute(text("SELECT merge_words(:day)"), {"day": day})
            return int(merged.scalar_one())

    async def _make(self, connection: AsyncConnection, place: Place) -> None:
        values = {"category": TABLE_NAMES[place[0]], "day": place[1]}
        try:
            async with connection.begin_nested():
                await connection.execute(text("SELECT ensure_partition(:category, :day)"), values)
        except DBAPIError as error:
            if not isinstance(error.orig, BUSY):
                raise
            self._not_before[place] = monotonic() + RETRY.total_seconds()
            logger.bind(category=values["category"], day=place[1].isoformat()).warning("partition not made")
        else:
            self._not_before.pop(place, None)
            await once_committed(connection, partial(self._there.add, place))
