"""What is known of the processes that watch, in PostgreSQL, so that any replica can answer for all. Implements `ports.Instances`."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from mesh.database import Database
from services.configuration.domain.rollout import Acknowledgement, Instance, Refusal
from services.configuration.store.tables import instances

_KEY = ["service", "instance"]


class PostgresInstances:
    """Implements `ports.Instances`. Its writes are no part of a call's outcome and wake nobody."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def saw(self, connected: Iterable[tuple[str, str, datetime]], now: datetime) -> None:
        """See the port."""
        rows = [
            {"service": service, "instance": instance, "connect_time": since, "last_seen_time": now}
            for service, instance, since in connected
        ]
        if not rows:
            return
        statement = insert(instances).values(rows)
        newest = func.greatest(instances.c.connect_time, statement.excluded.connect_time)
        statement = statement.on_conflict_do_update(
            index_elements=_KEY,
            set_={"connect_time": newest, "last_seen_time": statement.excluded.last_seen_time},
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(statement)

    async def left(self, service: str, instance: str, connect_time: datetime) -> None:
        """See the port."""
        statement = (
            update(instances)
            .where(
                instances.c.service == service,
                instances.c.instance == instance,
                instances.c.connect_time == connect_time,
            )
            .values(connect_time=None)
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(statement)

    async def acknowledge(self, said: Acknowledgement, now: datetime) -> None:
        """See the port."""
        columns: dict[str, Any] = {
            "history_id": said.history_id,
            "refusals": [{"key": item.key, "reason": item.reason} for item in said.refusals],
            "restart_pending": sorted(said.restart_pending),
            "last_seen_time": now,
        }
        same_history = instances.c.history_id == said.history_id
        if said.refusals:
            columns["refused_revision"] = said.revision
            kept = {"applied_revision": case((same_history, instances.c.applied_revision), else_=0)}
        else:
            columns |= {"applied_revision": said.revision, "refused_revision": 0}
            kept = {}
        latest = func.greatest(instances.c.applied_revision, instances.c.refused_revision)
        statement = insert(instances).values(service=said.service, instance=said.instance, **columns)
        statement = statement.on_conflict_do_update(
            index_elements=_KEY,
            set_=columns | kept,
            where=or_(instances.c.history_id.is_(None), ~same_history, latest <= said.revision),
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(statement)

    async def all(self, service: str, since: datetime, limit: int) -> Sequence[Instance]:
        """See the port."""
        query = select(instances).where(instances.c.last_seen_time > since)
        if service:
            query = query.where(instances.c.service == service)
        query = query.order_by(instances.c.service, instances.c.instance).limit(limit)
        async with self._database.read() as connection:
            return [_instance(row) for row in await connection.execute(query)]


def _instance(row: Row[*tuple[Any, ...]]) -> Instance:
    return Instance(
        service=row.service,
        instance=row.instance,
        applied_revision=row.applied_revision,
        refused_revision=row.refused_revision,
        refusals=tuple(Refusal(item["key"], item["reason"]) for item in row.refusals),
        restart_pending=tuple(row.restart_pending),
        connect_time=row.connect_time,
        last_seen_time=row.last_seen_time,
    )
