"""When the counters of each part are read next, on PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import and_, bindparam, func, select, update

from mesh.database import Database
from services.bot_manager.domain.model import BotState
from services.bot_manager.store.ports import PublishedPart
from services.bot_manager.store.tables import bots, post_parts, posts

_PART: Final = update(post_parts).where(
    post_parts.c.post_id == bindparam("post"), post_parts.c.index == bindparam("place")
)


class PostgresReadingTimes:
    """Every method raises Unavailable or DeadlineExceeded if the database cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bots_due(self, now: datetime, limit: int) -> list[str]:
        """Active bots with a part that is due, those that wait longest first."""
        query = (
            select(posts.c.bot_id)
            .join(post_parts, post_parts.c.post_id == posts.c.id)
            .join(bots, bots.c.id == posts.c.bot_id)
            .where(post_parts.c.next_read_time <= now, bots.c.state == BotState.ACTIVE.value)
            .group_by(posts.c.bot_id)
            .order_by(func.min(post_parts.c.next_read_time), posts.c.bot_id)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return list((await connection.execute(query)).scalars())

    async def take(
        self, bot_id: str, now: datetime, soon: datetime, again: datetime, limit: int
    ) -> list[PublishedPart]:
        """If one is due, up to `limit` parts that are due by `soon`; the caller reads them, and they are due `again` unless it plans."""
        query = (
            select(
                post_parts.c.post_id, post_parts.c.index, post_parts.c.x_post_id, post_parts.c.publish_time
            )
            .join(posts, posts.c.id == post_parts.c.post_id)
            .where(posts.c.bot_id == bot_id, post_parts.c.next_read_time <= soon)
            .order_by(post_parts.c.next_read_time, post_parts.c.post_id, post_parts.c.index)
            .limit(limit)
            .with_for_update(of=post_parts, skip_locked=True)
            .add_columns(post_parts.c.next_read_time)
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            rows = (await connection.execute(query)).all()
            if not rows or rows[0].next_read_time > now:
                return []
            parts = [PublishedPart(*row[:4]) for row in rows]
            values = [
                {"post": one.post_id, "place": one.part_index, "next_read_time": again} for one in parts
            ]
            await connection.execute(_PART, values)
        return parts

    async def plan(self, times: Sequence[tuple[PublishedPart, datetime | None]]) -> None:
        """When each is read next; None: not any more. What is gone from X stays out."""
        values = [
            {"post": part.post_id, "place": part.part_index, "next_read_time": time} for part, time in times
        ]
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(_PART.where(post_parts.c.gone_time.is_(None)), values)

    async def put_off(self, bot_id: str, time: datetime) -> None:
        """Read nothing of the bot before then."""
        own = and_(posts.c.id == post_parts.c.post_id, posts.c.bot_id == bot_id)
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(
                update(post_parts).where(own, post_parts.c.next_read_time < time).values(next_read_time=time)
            )

    async def of_post(self, post_id: str) -> datetime | None:
        """When a part of the post is read next; None if none is."""
        query = select(func.min(post_parts.c.next_read_time)).where(post_parts.c.post_id == post_id)
        async with self._database.read() as connection:
            found: datetime | None = (await connection.execute(query)).scalar_one()
        return found
