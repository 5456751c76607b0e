"""Occurrences on PostgreSQL, for whoever expands schedules: functions on the connection of a transaction that holds the schedule.

A schedule is locked before its posts. Posts of it that nobody has claimed yet can be taken back; those that went further stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Interval, delete, exists, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.bot_manager.domain import rules
from services.bot_manager.domain.model import Bot, BotState, Post, PostState
from services.bot_manager.domain.recurrence import posts as occurrence_posts
from services.bot_manager.domain.recurrence.misfires import TOO_LATE
from services.bot_manager.domain.recurrence.model import (
    FRESH_SOURCES,
    MisfirePolicy,
    Occurrence,
    Schedule,
    ScheduleState,
)
from services.bot_manager.store.rows import to_bot
from services.bot_manager.store.schedule_rows import schedule_values, to_occurrence, to_schedule
from services.bot_manager.store.tables import bots, posts
from services.bot_manager.store.tables.recurring import occurrences, schedules
from services.bot_manager.store.writing import Step, read_posts, write

_WAITING: Final = (PostState.SCHEDULED, PostState.PENDING_APPROVAL)
_UNTOUCHED: Final = (
    posts.c.state.in_([state.value for state in _WAITING]),
    posts.c.claim_fence == 0,
    posts.c.schedule_id == schedules.c.id,
)


async def claim_schedule(
    connection: AsyncConnection, now: datetime, horizon: timedelta, fresh: timedelta
) -> Schedule | None:
    """Lock a schedule of an ACTIVE bot that has occurrences to decide, the longest due first; None if there is none."""
    near = or_(
        schedules.c.next_time <= now + fresh,
        (schedules.c.next_time <= now + horizon) & ~_is_fresh(),
        exists().where(occurrences.c.schedule_id == schedules.c.id, occurrences.c.missed),
    )
    query = (
        select(schedules)
        .join(bots, bots.c.id == schedules.c.bot_id)
        .where(
            bots.c.state == BotState.ACTIVE.value,
            schedules.c.state != ScheduleState.PAUSED.value,
            or_(schedules.c.retry_time.is_(None), schedules.c.retry_time <= now),
            near,
        )
        .order_by(schedules.c.next_time, schedules.c.id)
        .limit(1)
        .with_for_update(of=schedules, skip_locked=True)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else to_schedule(row)


async def lock_schedule(connection: AsyncConnection, schedule_id: str) -> Schedule | None:
    """The schedule, locked; None if it does not exist."""
    query = select(schedules).where(schedules.c.id == schedule_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else to_schedule(row)


async def bot_of(connection: AsyncConnection, schedule: Schedule) -> Bot:
    """The schedule's bot."""
    return to_bot((await connection.execute(select(bots).where(bots.c.id == schedule.bot_id))).one())


async def store_schedule(
    connection: AsyncConnection, schedule: Schedule, retry_time: datetime | None = None
) -> None:
    """Write every column."""
    values = {**schedule_values(schedule), "retry_time": retry_time}
    await connection.execute(update(schedules).where(schedules.c.id == schedule.id).values(values))


async def decided(
    connection: AsyncConnection, schedule: Schedule, found: Sequence[Occurrence]
) -> set[datetime]:
    """Wall times of those that were decided before, be it under another rule of the zone or at the same instant."""
    if not found:
        return set()
    walls = [one.wall_time for one in found]
    by_instant = {one.nominal_time: one.wall_time for one in found}
    query = select(occurrences.c.time_zone, occurrences.c.wall_time, occurrences.c.nominal_time).where(
        occurrences.c.schedule_id == schedule.id,
        or_(
            (occurrences.c.time_zone == schedule.time_zone) & occurrences.c.wall_time.in_(walls),
            occurrences.c.nominal_time.in_(list(by_instant)),
        ),
    )
    known = set()
    for row in await connection.execute(query):
        if row.time_zone == schedule.time_zone:
            known.add(row.wall_time)
        if row.nominal_time in by_instant:
            known.add(by_instant[row.nominal_time])
    return known


async def add_occurrence(
    connection: AsyncConnection,
    schedule: Schedule,
    occurrence: Occurrence,
    post_count: int,
    taken: tuple[str, int] = ("", 0),
) -> None:
    """Decide it, for ever. `taken` is the item of a pool, and its round."""
    values = {**_values(schedule, occurrence), "post_count": post_count}
    key, number = taken
    await connection.execute(insert(occurrences).values({**values, "item_key": key, "item_round": number}))


async def add_skipped(connection: AsyncConnection, schedule: Schedule, found: Sequence[Occurrence]) -> None:
    """Decide that these make no post."""
    await connection.execute(insert(occurrences), [_values(schedule, one) for one in found])


def _values(schedule: Schedule, occurrence: Occurrence) -> dict[str, Any]:
    return {
        "schedule_id": schedule.id,
        "time_zone": schedule.time_zone,
        "wall_time": occurrence.wall_time,
        "nominal_time": occurrence.nominal_time,
        "scheduled_time": occurrence.scheduled_time,
        "post_count": 0,
        "missed": False,
        "skip_message": occurrence.skip_message,
        "item_key": "",
        "item_round": 0,
    }


async def missed_occurrences(connection: AsyncConnection, schedule: Schedule) -> list[Occurrence]:
    """Those whose posts were too late and may be made up for, earliest first."""
    query = (
        select(occurrences)
        .where(occurrences.c.schedule_id == schedule.id, occurrences.c.missed)
        .order_by(occurrences.c.nominal_time)
    )
    rows = await connection.execute(query)
    return [replace(to_occurrence(row), skip_message="") for row in rows]


async def settle_missed(
    connection: AsyncConnection, schedule: Schedule, occurrence: Occurrence, skip_message: str
) -> None:
    """It is made up for, or skipped for good."""
    await connection.execute(
        update(occurrences)
        .where(
            occurrences.c.schedule_id == schedule.id, occurrences.c.nominal_time == occurrence.nominal_time
        )
        .values(missed=False, skip_message=skip_message)
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


async def complete(connection: AsyncConnection, now: datetime) -> int:
    """Schedules whose bot is archived, or that have no occurrence left, are COMPLETED. How many."""
    archived = exists().where(bots.c.id == schedules.c.bot_id, bots.c.state == BotState.ARCHIVED.value)
    to_come = exists().where(
        occurrences.c.schedule_id == schedules.c.id,
        or_(occurrences.c.nominal_time > now, occurrences.c.missed),
    )
    has_ended = (schedules.c.state == ScheduleState.ACTIVE.value) & schedules.c.next_time.is_(None) & ~to_come
    changed = await connection.execute(
        update(schedules)
        .where(schedules.c.state != ScheduleState.COMPLETED.value, or_(has_ended, archived))
        .values(state=ScheduleState.COMPLETED.value, next_time=None, version=schedules.c.version + 1)
    )
    return changed.rowcount


async def forgive_missed(connection: AsyncConnection, schedule: Schedule) -> None:
    """What was missed is not made up for any more."""
    await connection.execute(
        update(occurrences).where(occurrences.c.schedule_id == schedule.id).values(missed=False)
    )


def _is_fresh() -> ColumnElement[bool]:
    return or_(*(schedules.c.content.has_key(name) for name in sorted(FRESH_SOURCES)))


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


async def rest(connection: AsyncConnection, schedule_id: str, until: datetime, message: str) -> None:
    """Leave the schedule alone until then, and say so."""
    await connection.execute(
        update(schedules)
        .where(schedules.c.id == schedule_id)
        .values(retry_time=until, last_skip_message=message)
    )


async def schedules_ahead(connection: AsyncConnection, after: str, limit: int) -> list[Schedule]:
    """Schedules that are not PAUSED, in the order of their ids, from behind `after` on."""
    query = (
        select(schedules)
        .where(schedules.c.state == ScheduleState.ACTIVE.value, schedules.c.id > after)
        .order_by(schedules.c.id)
        .limit(limit)
    )
    return [to_schedule(row) for row in await connection.execute(query)]


async def occurrences_ahead(
    connection: AsyncConnection, schedule: Schedule, now: datetime
) -> list[Occurrence]:
    """Decided occurrences that are still to come."""
    query = select(occurrences).where(
        occurrences.c.schedule_id == schedule.id,
        occurrences.c.nominal_time > now,
        occurrences.c.time_zone == schedule.time_zone,
    )
    return [to_occurrence(row) for row in await connection.execute(query)]
