"""Readings as lists on PostgreSQL: posts by how well they did, and every reading of a span."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Float, Row, case, cast, func, literal, select, tuple_

from mesh.database import Database
from services.bot_manager.domain.model import Counters, Reading
from services.bot_manager.domain.statistics import RATE, ExportRow, Ranked
from services.bot_manager.store.metrics import COUNTERS, last_readings
from services.bot_manager.store.tables import post_metrics, post_parts, posts

ENGAGEMENTS: Final = tuple(name for name in COUNTERS if name != "impressions")


class PostgresMetricLists:
    """Every method raises Unavailable or DeadlineExceeded if the database cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def top(
        self,
        bot_id: str,
        metric: str,
        start: datetime,
        end: datetime,
        after: tuple[float, str] | None,
        limit: int,
    ) -> list[Ranked]:
        """Posts published in the span that were read at least once, best first, behind the one with that value and id.

        `metric` is one of `domain.statistics.METRICS`.
        """
        published, last = last_readings(bot_id, start, end)
        sums = {name: func.sum(last.c[name]) for name in COUNTERS}
        ranked = (
            select(
                last.c.post_id,
                func.max(last.c.time).label("read_time"),
                _value(metric, sums).label("value"),
                *(cast(column, Float).label(name) for name, column in sums.items()),
            )
            .group_by(last.c.post_id)
            .subquery()
        )
        text = func.coalesce(func.nullif(post_parts.c.rendered_text, ""), post_parts.c.text).label("text")
        query = (
            select(ranked, published.c.publish_time, text, post_parts.c.x_post_id)
            .join(published, published.c.id == ranked.c.post_id)
            .join(post_parts, post_parts.c.post_id == ranked.c.post_id)
            .where(post_parts.c.index == 0)
            .order_by(ranked.c.value.desc(), ranked.c.post_id.desc())
            .limit(limit)
        )
        if after is not None:
            behind = tuple_(literal(after[0], Float), literal(after[1], posts.c.id.type))
            query = query.where(tuple_(ranked.c.value, ranked.c.post_id) < behind)
        async with self._database.read() as connection:
            return [_ranked(row) for row in await connection.execute(query)]

    async def export(
        self,
        bot_id: str,
        start: datetime | None,
        end: datetime | None,
        after: tuple[datetime, str] | None,
        limit: int,
    ) -> list[ExportRow]:
        """Readings in the span by time, behind the one of that time and id on X; of all bots if `bot_id` is empty."""
        key = (post_metrics.c.time, post_metrics.c.x_post_id)
        query = select(post_metrics, posts.c.bot_id).join(posts, posts.c.id == post_metrics.c.post_id)
        if bot_id:
            query = query.where(posts.c.bot_id == bot_id)
        if start is not None:
            query = query.where(post_metrics.c.time >= start)
        if end is not None:
            query = query.where(post_metrics.c.time < end)
        if after is not None:
            query = query.where(tuple_(*key) > after)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(*key).limit(limit))).all()
        return [ExportRow(row.bot_id, _reading(row)) for row in rows]


def _value(metric: str, sums: dict[str, Any]) -> ColumnElement[Any]:
    """As `domain.statistics.engagement_rate` says, or the sum."""
    if metric != RATE:
        return cast(sums[metric], Float)
    engagements = sum((sums[name] for name in ENGAGEMENTS), literal(0))
    impressions = sums["impressions"]
    rate = cast(engagements, Float) / func.nullif(cast(impressions, Float), 0.0)
    return case((impressions > 0, func.least(func.greatest(rate, 0.0), 1.0)), else_=0.0)


def _ranked(row: Row[Any]) -> Ranked:
    return Ranked(
        row.post_id,
        row.text,
        row.x_post_id,
        row.publish_time,
        row.value,
        Counters(*(int(getattr(row, name)) for name in COUNTERS)),
        row.read_time,
    )


def _reading(row: Row[Any]) -> Reading:
    return Reading(row.post_id, row.x_post_id, row.time, Counters(*(getattr(row, name) for name in COUNTERS)))
