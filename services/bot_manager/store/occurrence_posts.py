"""Posts of occurrences on PostgreSQL: those that were too late, those that are taken back, those that are called off.

Functions on the connection of a transaction. A schedule is locked before its posts. What nobody has claimed yet can be taken back; what
went further stays.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Interval, delete, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.bot_manager.domain import rules
from services.bot_manager.domain.model import Post, PostState
from services.bot_manager.domain.recurrence import posts as occurrence_posts
from services.bot_manager.domain.recurrence.misfires import TOO_LATE
from services.bot_manager.domain.recurrence.model import (
    MisfirePolicy,
    Schedule,
)
from services.bot_manager.store.tables import posts
from services.bot_manager.store.tables.recurring import occurrences, schedules
from services.bot_manager.store.writing import Step, read_posts, write

_WAITING: Final = (PostState.SCHEDULED, PostState.PENDING_APPROVAL)
_UNTOUCHED: Final = (
    posts.c.state.in_([state.value for state in _WAITING]),
    posts.c.claim_fence == 0,
    posts.c.schedule_id == schedules.c.id,
)


async def posts_at(connection: AsyncConnection, schedule: Schedule, nominal: datetime) -> list[Post]:
    """The posts of one occurrence, locked, in the order of their items."""
    query = select(posts.c.id).where(posts.c.schedule_id == schedule.id, posts.c.occurrence_time == nominal)
    found = await read_posts(connection, (await connection.execute(query)).scalars(), lock=True)
    return sorted(found.values(), key=lambda post: post.occurrence_item)


async def tie(connection: AsyncConnection, post: Post) -> None:
    """Note on a post that exists whose occurrence it is, or that it is none any more."""
    await connection.execute(
        update(posts)
        .where(posts.c.id == post.id)
        .values(
            schedule_id=post.schedule_id or None,
            occurrence_time=post.occurrence_time,
            occurrence_item=post.occurrence_item,
        )
    )


async def miss_late(
    connection: AsyncConnection, now: datetime, grace: timedelta, limit: int, instance: str
) -> list[tuple[str, str]]:
    """Mark posts MISSED that nobody claimed until their grace was over: ids of them and of their schedules.

    Until then the product or their bot was stopped. What may be made up for is noted; drafts of a queue go back there otherwise.
    """
    allowed = func.coalesce(schedules.c.misfire_grace, literal(grace, Interval()))
    query = (
        select(posts.c.id, schedules.c.misfire_policy)
        .join(schedules, schedules.c.id == posts.c.schedule_id)
        .where(
            *_UNTOUCHED,
            posts.c.state == PostState.SCHEDULED.value,
            posts.c.attempt_count == 0,
            posts.c.due_time == posts.c.scheduled_time,
            posts.c.due_time < now - allowed,
        )
        .order_by(posts.c.id)
        .limit(limit)
        .with_for_update(of=posts, skip_locked=True)
    )
    rows = (await connection.execute(query)).all()
    policies = {row.id: row.misfire_policy for row in rows}
    found = (await read_posts(connection, policies, lock=True)).values()
    for_good = {post.id for post in found if policies[post.id] == MisfirePolicy.SKIP.value}
    returned = [post for post in found if post.queue and post.id in for_good]
    await _give_back(returned, connection, now, instance, TOO_LATE)
    missed = [post for post in found if post not in returned]
    await write(connection, [Step(post, occurrence_posts.miss(post, now)) for post in missed], now, instance)
    for post in found:
        await _note_miss(connection, post, makes_up=post.id not in for_good)
    return [(post.id, post.schedule_id) for post in found]


async def _note_miss(connection: AsyncConnection, post: Post, *, makes_up: bool) -> None:
    await connection.execute(
        update(occurrences)
        .where(
            occurrences.c.schedule_id == post.schedule_id,
            occurrences.c.nominal_time == post.occurrence_time,
        )
        .values(missed=makes_up, skip_message=TOO_LATE)
    )
    await connection.execute(
        update(schedules).where(schedules.c.id == post.schedule_id).values(last_skip_message=TOO_LATE)
    )


async def take_back(
    connection: AsyncConnection, schedule: Schedule, now: datetime, instance: str
) -> tuple[int, datetime | None]:
    """Undo what is still to come and nobody has claimed: posts are deleted, drafts go back to their queue.

    How many occurrences are undecided again, and the wall time of the earliest. News of a feed stay: they are not taken twice.
    """
    undone: list[datetime] = []
    by_time = await _untouched(connection, schedule, posts.c.occurrence_time > now)
    for nominal, found in by_time.items():
        if schedule.source == "feed" or not _all_waiting(found):
            continue
        row = await _delete_occurrence(connection, schedule, nominal)
        if row is None:
            continue
        undone.append(row)
        queued = [post for post in found if post.queue]
        await _give_back(queued, connection, now, instance, "the schedule was changed")
        made = [post.id for post in found if not post.queue]
        await connection.execute(delete(posts).where(posts.c.id.in_(made)))
    skipped = (
        delete(occurrences)
        .where(
            occurrences.c.schedule_id == schedule.id,
            occurrences.c.nominal_time > now,
            occurrences.c.post_count == 0,
        )
        .returning(occurrences.c.wall_time)
    )
    undone += (await connection.execute(skipped)).scalars()
    return len(undone), min(undone, default=None)


async def call_off(
    connection: AsyncConnection,
    schedule: Schedule,
    now: datetime,
    instance: str,
    actor: str,
    reason: str,
) -> int:
    """Cancel posts that are still SCHEDULED; drafts of a queue go back to it. How many there were."""
    found = [
        post
        for group in (await _untouched(connection, schedule, posts.c.state == "SCHEDULED")).values()
        for post in group
        if post.state is PostState.SCHEDULED
    ]
    await _give_back([post for post in found if post.queue], connection, now, instance, reason)
    steps = [Step(post, rules.cancel(post, actor, reason)) for post in found if not post.queue]
    await write(connection, steps, now, instance)
    return len(found)


def _all_waiting(found: Sequence[Post]) -> bool:
    return all(post.state in _WAITING and not post.claim_fence for post in found)


async def _untouched(
    connection: AsyncConnection, schedule: Schedule, condition: ColumnElement[bool]
) -> Mapping[datetime, list[Post]]:
    """Posts of the occurrences that have one of the kind that nobody claimed yet, locked, by nominal time."""
    some = select(posts.c.occurrence_time).where(
        posts.c.schedule_id == schedule.id,
        posts.c.state.in_([state.value for state in _WAITING]),
        posts.c.claim_fence == 0,
        condition,
    )
    query = select(posts.c.id).where(posts.c.schedule_id == schedule.id, posts.c.occurrence_time.in_(some))
    grouped: dict[datetime, list[Post]] = {}
    for post in (
        await read_posts(connection, (await connection.execute(query)).scalars(), lock=True)
    ).values():
        if post.occurrence_time is not None:
            grouped.setdefault(post.occurrence_time, []).append(post)
    return grouped


async def _delete_occurrence(
    connection: AsyncConnection, schedule: Schedule, nominal: datetime
) -> datetime | None:
    statement = (
        delete(occurrences)
        .where(occurrences.c.schedule_id == schedule.id, occurrences.c.nominal_time == nominal)
        .returning(occurrences.c.wall_time)
    )
    found: datetime | None = (await connection.execute(statement)).scalar_one_or_none()
    return found


async def _give_back(
    found: Sequence[Post], connection: AsyncConnection, now: datetime, instance: str, why: str
) -> None:
    """Posts of a queue are drafts again, the oldest of them first in line as before."""
    steps = [Step(post, occurrence_posts.give_back(post, why)) for post in found]
    for post in await write(connection, steps, now, instance):
        await tie(connection, post)
