"""Removes what is older than its retention: whole partitions where there are any, rows by the thousand elsewhere.

Each step is a transaction of its own under an advisory lock that is tried and not waited for, so replicas need no leader: whoever
comes first does it.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, LiteralString

from sqlalchemy import text

from mesh.database import Database
from services.logging.domain.retention import DAYS_AHEAD, Retention
from services.logging.store.partitions import TABLE_NAMES, Partitions

LOCK = 0x6B656570
"""Any constant of our own; advisory locks have numbers for names."""
ROWS_A_DELETE = 5_000
KEEP_BATCHES = timedelta(days=7)
KEEP_REJECTED = timedelta(days=30)

_OLD_BATCHES: LiteralString = (
    "DELETE FROM batches WHERE number IN"
    " (SELECT number FROM batches WHERE store_time < :before ORDER BY store_time LIMIT :most)"
)
_OLD_REJECTED: LiteralString = (
    "DELETE FROM rejected WHERE id IN (SELECT id FROM rejected WHERE create_time < :before LIMIT :most)"
)
# Counts go with the last record of their minute: those of days in reach with the partition, others with the rows of the default one.
_OLD_COUNTS = (
    "DELETE FROM record_counts WHERE ctid = ANY (ARRAY(SELECT c.ctid FROM record_counts c WHERE c.category = :category"
    " AND (c.minute < :before OR c.minute >= :horizon) AND NOT EXISTS (SELECT FROM records_{name}_other o"
    " WHERE o.time >= c.minute AND o.time < c.minute + interval '1 minute') LIMIT :most))"
)
_OLD_STRAYS = (
    "DELETE FROM records_{name}_other WHERE ctid = ANY (ARRAY(SELECT ctid FROM records_{name}_other"
    " WHERE observed_time < :before LIMIT :most))"
)


class Pruning:
    """Removes what is due."""

    def __init__(self, database: Database, partitions: Partitions) -> None:
        self._database = database
        self._partitions = partitions

    async def prune(self, retention: Retention, now: datetime) -> int:
        """Remove all that is due; how many partitions were dropped. Raises MeshError; what was removed until then stays so."""
        dropped = 0
        for category, name in TABLE_NAMES.items():
            first_day = retention.first_day(category, now)
            dropped += await self._partitions.drop(category, first_day)
            before = _midnight(first_day)
            horizon = _midnight(now.astimezone(UTC).date() + timedelta(days=DAYS_AHEAD + 1))
            await self._delete(_OLD_STRAYS.format(name=name), {"before": before})
            values = {"before": before, "horizon": horizon, "category": category}
            await self._delete(_OLD_COUNTS.format(name=name), values)
        await self._delete(_OLD_BATCHES, {"before": now - KEEP_BATCHES})
        await self._delete(_OLD_REJECTED, {"before": now - KEEP_REJECTED})
        return dropped

    async def _delete(self, statement: str, values: dict[str, Any]) -> None:
        while await self._delete_some(statement, values) == ROWS_A_DELETE:
            pass

    async def _delete_some(self, statement: str, values: dict[str, Any]) -> int:
        async with self._database.transaction(concludes=False, wake=False) as connection:
            mine = await connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK})
            if not mine.scalar_one():
                return 0
            done = await connection.execute(text(statement), {**values, "most": ROWS_A_DELETE})
            return int(done.rowcount)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
