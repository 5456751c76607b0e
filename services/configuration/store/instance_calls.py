"""What instances tell of their calls, in PostgreSQL, so that whichever replica drives a roll-out can judge it."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from mesh.database import Database
from services.configuration.domain.guard import Counted, Rate, total
from services.configuration.store.tables import instance_calls

GRAIN = timedelta(seconds=5)
"""One report of an instance is kept in each, which bounds the table however often it tells."""
KEPT = timedelta(hours=1)
"""Twice what a guard looks back."""


class PostgresInstanceCalls:
    """Implements `ports.InstanceCalls`. Its writes are no part of a call's outcome and wake nobody."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def told(
        self, service: str, instance: str, count_time: datetime, totals: Rate, now: datetime
    ) -> None:
        """See the port."""
        statement = insert(instance_calls).values(
            service=service,
            instance=instance,
            count_time=count_time,
            report_time=_grain(now),
            calls=totals.calls,
            failed=totals.failed,
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(statement.on_conflict_do_nothing())

    async def of(self, service: str, instances: Collection[str], since: datetime) -> Rate:
        """See the port. Totals only grow, so the largest is the newest."""
        calls, failed, at = instance_calls.c.calls, instance_calls.c.failed, instance_calls.c.report_time
        before = at <= since
        query = (
            select(
                instance_calls.c.count_time,
                *(func.max(column) for column in (calls, failed)),
                *(func.max(column).filter(before) for column in (calls, failed)),
                *(func.min(column) for column in (calls, failed)),
            )
            .where(instance_calls.c.service == service, instance_calls.c.instance.in_(list(instances)))
            .group_by(instance_calls.c.instance, instance_calls.c.count_time)
            .having(func.max(at) > since)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return total((_counted(*row) for row in rows), since)

    async def prune(self, now: datetime) -> None:
        """See the port."""
        statement = delete(instance_calls).where(instance_calls.c.report_time < now - KEPT)
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(statement)


def _grain(now: datetime) -> datetime:
    seconds = GRAIN.total_seconds()
    return datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC)


def _counted(
    count_time: datetime,
    calls: int,
    failed: int,
    calls_before: int | None,
    failed_before: int | None,
    calls_first: int,
    failed_first: int,
) -> Counted:
    before = None if calls_before is None else Rate(calls_before, failed_before or 0)
    return Counted(count_time, Rate(calls, failed), before, Rate(calls_first, failed_first))
