"""A connection for one search: each statement has what is left of the search's time, and a plan made for its own values.

Plans for unknown values would look at every partition there is. Just-in-time compilation is left out, and parallel workers of the database
are for who asks for them: a search may be slower than it could be, ingest must not.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Final, TypeAlias

from sqlalchemy import CursorResult, Executable, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import DeadlineExceeded

_PLANNING: Final = {
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
_ORDERED_SCANS: Final = ("enable_indexscan", "enable_indexonlyscan", "enable_seqscan")
_MILLI: Final = 1000

Rows: TypeAlias = CursorResult[*tuple[Any, ...]]


class SearchSession:
    """Statements of one search, in one transaction that writes nothing."""

    def __init__(self, connection: AsyncConnection, ends_at: float) -> None:
        """`ends_at`: monotonic seconds."""
        self._connection = connection
        self._ends_at = ends_at

    async def execute(self, query: Executable, *, in_order: bool = True, workers: int = 0) -> Rows:
        """Raises DeadlineExceeded when the time is over. Without `in_order` the planner may not walk records in the order asked for,
        in the hope of meeting some that match; it has to look up what matches and to sort that."""
        left = int((self._ends_at - monotonic()) * _MILLI)
        if left <= 0:
            raise DeadlineExceeded("DEADLINE_TOO_SHORT", "the search did not finish in time")
        values = {"statement_timeout": str(left), **_PLANNING}
        values["max_parallel_workers_per_gather"] = str(workers)
        values |= dict.fromkeys(_ORDERED_SCANS, "on" if in_order else "off")
        await self._connection.execute(
            select(*(func.set_config(name, value, True) for name, value in values.items()))
        )
        rows: Rows = await self._connection.execute(query)
        return rows


@asynccontextmanager
async def search_session(database: Database, seconds: float) -> AsyncIterator[SearchSession]:
    """A session that may take `seconds`. Raises DeadlineExceeded beyond, Unavailable without a database."""
    ends_at = monotonic() + seconds
    async with database.read(seconds=seconds) as connection:
        yield SearchSession(connection, ends_at)
