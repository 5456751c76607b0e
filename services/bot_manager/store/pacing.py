"""Lets posts of one bot through one after the other, over all replicas.

A post is let through under a lock of its bot, and that is written down: whoever comes next counts it as published until it is settled.
The claim's fence tells whether it still holds: a post that was put off afterwards, for whatever reason, has to ask again.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import Select, and_, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from services.bot_manager.domain.lifecycle import LEASED
from services.bot_manager.domain.model import PartState, Post, PostState
from services.bot_manager.domain.pacing import Hold, Pace, Standing
from services.bot_manager.store.locking import lock
from services.bot_manager.store.tables import attempts, post_parts, posts
from services.bot_manager.store.tables.pacing import let_through

AT_ONCE: Final = 4
"""Connections that may be spent on this in one process: those that wait for one bot must not keep all others waiting."""
MOST_PUT_OFF: Final = 1000
AHEAD: Final = timedelta(days=2)
"""How far ahead those that gave way are looked at: longer than any interval."""
_OPEN: Final = (PartState.PUBLISHING.value, PartState.UNKNOWN.value)
_HELD: Final = and_(
    posts.c.id == let_through.c.post_id,
    posts.c.claim_fence == let_through.c.fence,
    posts.c.state.in_([state.value for state in LEASED]),
)


class PaceStore(Protocol):
    """What the publisher asks where a bot has a pace."""

    async def let_through(
        self, post: Post, pace: Pace, now: datetime, judge: Callable[[Standing], Hold | None]
    ) -> Hold | None:
        """What `judge` says of how the bot stands now. None: the post goes, and counts from this moment on."""
        ...


class PostgresPace:
    """Implements PaceStore."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def let_through(
        self, post: Post, pace: Pace, now: datetime, judge: Callable[[Standing], Hold | None]
    ) -> Hold | None:
        """See the port."""
        async with self._turns, self._database.transaction(concludes=False, wake=False) as connection:
            await lock(connection, f"pace of {post.bot_id}")
            held = judge(await _standing(connection, post, pace, now))
            if held is None:
                await _note(connection, post)
            return held


async def _standing(connection: AsyncConnection, post: Post, pace: Pace, now: datetime) -> Standing:
    used, last = (await connection.execute(_out(post, pace, now))).one()
    under_way, parts = (await connection.execute(_under_way(post))).one()
    put_off = (await connection.execute(_put_off(post, now))).scalars().all() if pace.interval else ()
    return Standing(used + parts, last, under_way, put_off)


def _out(post: Post, pace: Pace, now: datetime) -> Select[int, datetime | None]:
    """How many parts of the bot went out today, or may have, and when the last of another post did."""
    first, after = pace.day_of(now)
    since = min(first, now - pace.interval)
    begun = select(func.max(attempts.c.started_time)).where(
        attempts.c.post_id == post_parts.c.post_id, attempts.c.part_index == post_parts.c.index
    )
    time = func.coalesce(post_parts.c.publish_time, begun.scalar_subquery())
    return (
        select(
            func.count().filter(time >= first, time < after),
            func.max(time).filter(posts.c.id != post.id),
        )
        .select_from(post_parts)
        .join(posts, posts.c.id == post_parts.c.post_id)
        .where(
            posts.c.bot_id == post.bot_id,
            # Of threads that are not complete the post itself has no time of publication.
            or_(
                posts.c.publish_time >= since, and_(posts.c.publish_time.is_(None), posts.c.attempt_count > 0)
            ),
            or_(post_parts.c.publish_time >= since, post_parts.c.state.in_(_OPEN)),
        )
    )


def _under_way(post: Post) -> Select[int, int]:
    """How many other posts were let through and are held, and how many of their parts have not begun."""
    return (
        select(func.count(posts.c.id.distinct()), func.count(post_parts.c.index))
        .select_from(let_through)
        .join(posts, _HELD)
        .outerjoin(
            post_parts,
            and_(post_parts.c.post_id == posts.c.id, post_parts.c.state == PartState.PENDING.value),
        )
        .where(let_through.c.bot_id == post.bot_id, posts.c.id != post.id)
    )


def _put_off(post: Post, now: datetime) -> Select[datetime]:
    return (
        select(posts.c.due_time)
        .where(
            posts.c.bot_id == post.bot_id,
            posts.c.id != post.id,
            posts.c.state == PostState.SCHEDULED.value,
            posts.c.due_time > posts.c.scheduled_time,
            posts.c.due_time >= now,
            posts.c.due_time < now + AHEAD,
        )
        .order_by(posts.c.due_time)
        .limit(MOST_PUT_OFF)
    )


async def _note(connection: AsyncConnection, post: Post) -> None:
    settled = ~select(posts.c.id).where(_HELD).exists()
    await connection.execute(delete(let_through).where(let_through.c.bot_id == post.bot_id, settled))
    statement = insert(let_through).values(post_id=post.id, bot_id=post.bot_id, fence=post.claim_fence)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[let_through.c.post_id], set_={"fence": statement.excluded.fence}
        )
    )
