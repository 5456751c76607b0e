"""Readings of counters on PostgreSQL. Implements `ports.MetricStore`."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Subquery, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from services.bot_manager.domain.happenings import statistics_refreshed
from services.bot_manager.domain.model import Counters, PostState, Reading
from services.bot_manager.events.announcing import announce
from services.bot_manager.store.ports import PublishedPart
from services.bot_manager.store.tables import post_metrics, post_parts, posts

COUNTERS: Final = tuple(field.name for field in fields(Counters))


def last_readings(bot_id: str, start: datetime, end: datetime) -> tuple[Subquery, Subquery]:
    """The bot's posts published in the span, `id` and `publish_time`; and the last reading of each part of them that was read."""
    published = (
        select(posts.c.id, posts.c.publish_time)
        .where(
            posts.c.bot_id == bot_id,
            posts.c.state == PostState.PUBLISHED.value,
            posts.c.publish_time >= start,
            posts.c.publish_time < end,
        )
        .subquery()
    )
    last = (
        select(post_metrics)
        .ext(distinct_on(post_metrics.c.post_id, post_metrics.c.x_post_id))
        .join(published, published.c.id == post_metrics.c.post_id)
        .order_by(post_metrics.c.post_id, post_metrics.c.x_post_id, post_metrics.c.time.desc())
        .subquery()
    )
    return published, last


class PostgresMetrics:
    """See the port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def published_parts(
        self, bot_id: str, since: datetime, limit: int, post_ids: Sequence[str] = ()
    ) -> list[PublishedPart]:
        """See the port."""
        query = (
            select(
                post_parts.c.post_id, post_parts.c.index, post_parts.c.x_post_id, post_parts.c.publish_time
            )
            .join(posts, posts.c.id == post_parts.c.post_id)
            .where(
                posts.c.bot_id == bot_id,
                post_parts.c.x_post_id.is_not(None),
                post_parts.c.gone_time.is_(None),
                post_parts.c.publish_time >= since,
            )
            .order_by(post_parts.c.publish_time.desc(), post_parts.c.post_id, post_parts.c.index)
            .limit(limit)
        )
        if post_ids:
            query = query.where(posts.c.id.in_(post_ids))
        async with self._database.read() as connection:
            return [PublishedPart(*row) for row in await connection.execute(query)]

    async def add(self, readings: Sequence[Reading], *, private: bool = True) -> None:
        """See the port."""
        if not readings:
            return
        values = [
            {
                "post_id": one.post_id,
                "x_post_id": one.x_post_id,
                "time": one.time,
                "private": private,
                **asdict(one.counters),
            }
            for one in readings
        ]
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(insert(post_metrics).on_conflict_do_nothing(), values)
            await _tell(connection, {one.post_id for one in readings}, max(one.time for one in readings))

    async def mark_gone(self, x_post_ids: Sequence[str], now: datetime) -> list[str]:
        """See the port."""
        statement = (
            update(post_parts)
            .where(post_parts.c.x_post_id.in_(x_post_ids), post_parts.c.gone_time.is_(None))
            .values(gone_time=now, next_read_time=None)
            .returning(post_parts.c.post_id)
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            return sorted({*(await connection.execute(statement)).scalars()})

    async def of_post(
        self, post_id: str, start: datetime | None, end: datetime | None, limit: int
    ) -> list[Reading]:
        """See the port."""
        query = select(post_metrics).where(post_metrics.c.post_id == post_id)
        if start is not None:
            query = query.where(post_metrics.c.time >= start)
        if end is not None:
            query = query.where(post_metrics.c.time < end)
        query = query.order_by(post_metrics.c.time.desc(), post_metrics.c.x_post_id).limit(limit)
        async with self._database.read() as connection:
            return [_to_reading(row) for row in await connection.execute(query)][::-1]

    async def latest_of_post(self, post_id: str) -> list[Reading]:
        """See the port."""
        query = (
            select(post_metrics)
            .ext(distinct_on(post_metrics.c.x_post_id))
            .where(post_metrics.c.post_id == post_id)
            .order_by(post_metrics.c.x_post_id, post_metrics.c.time.desc())
        )
        async with self._database.read() as connection:
            return [_to_reading(row) for row in await connection.execute(query)]

    async def gone(self, post_id: str) -> bool:
        """See the port."""
        query = select(func.count()).where(
            post_parts.c.post_id == post_id, post_parts.c.gone_time.is_not(None)
        )
        async with self._database.read() as connection:
            return bool((await connection.execute(query)).scalar_one())

    async def latest_of_bot(
        self, bot_id: str, start: datetime, end: datetime
    ) -> tuple[int, Counters, datetime | None]:
        """See the port."""
        published, last = last_readings(bot_id, start, end)
        sums = select(func.max(last.c.time), *(func.coalesce(func.sum(last.c[name]), 0) for name in COUNTERS))
        async with self._database.read() as connection:
            count = (await connection.execute(select(func.count()).select_from(published))).scalar_one()
            read_time, *counters = (await connection.execute(sums)).one()
        return count, Counters(*map(int, counters)), read_time

    async def of_bot(self, bot_id: str, start: datetime, end: datetime) -> list[Reading]:
        """See the port."""
        before = (
            select(post_metrics)
            .ext(distinct_on(post_metrics.c.x_post_id))
            .join(posts, posts.c.id == post_metrics.c.post_id)
            .where(posts.c.bot_id == bot_id, post_metrics.c.time < start)
            .order_by(post_metrics.c.x_post_id, post_metrics.c.time.desc())
        )
        during = (
            select(post_metrics)
            .join(posts, posts.c.id == post_metrics.c.post_id)
            .where(posts.c.bot_id == bot_id, post_metrics.c.time >= start, post_metrics.c.time < end)
            .order_by(post_metrics.c.time, post_metrics.c.x_post_id)
        )
        async with self._database.read() as connection:
            first = [_to_reading(row) for row in await connection.execute(before)]
            return first + [_to_reading(row) for row in await connection.execute(during)]

    async def gone_since(self, bot_id: str, since: datetime) -> list[str]:
        """See the port."""
        query = (
            select(post_parts.c.post_id)
            .distinct()
            .join(posts, posts.c.id == post_parts.c.post_id)
            .where(posts.c.bot_id == bot_id, post_parts.c.gone_time >= since)
            .order_by(post_parts.c.post_id)
        )
        async with self._database.read() as connection:
            return list((await connection.execute(query)).scalars())

    async def foreign(self, bot_id: str, post_ids: Sequence[str]) -> list[str]:
        """See the port."""
        query = select(posts.c.id).where(posts.c.bot_id == bot_id, posts.c.id.in_(post_ids))
        async with self._database.read() as connection:
            own = set((await connection.execute(query)).scalars())
        return [post_id for post_id in post_ids if post_id not in own]


async def _tell(connection: AsyncConnection, post_ids: Collection[str], now: datetime) -> None:
    query = (
        select(posts.c.bot_id, func.count()).where(posts.c.id.in_(sorted(post_ids))).group_by(posts.c.bot_id)
    )
    found = (await connection.execute(query.order_by(posts.c.bot_id))).all()
    await announce(connection, now, *(statistics_refreshed(bot_id, count) for bot_id, count in found))


def _to_reading(row: Row[Any]) -> Reading:
    return Reading(row.post_id, row.x_post_id, row.time, Counters(*(getattr(row, name) for name in COUNTERS)))
