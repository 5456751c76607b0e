"""Occurrences on PostgreSQL, for whoever expands schedules: functions on the connection of a transaction that holds the schedule.

What becomes of their posts is in `store/occurrence_posts.py`.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.bot_manager.domain.happenings import schedule_updated
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.domain.recurrence.model import (
    FRESH_SOURCES,
    Occurrence,
    Schedule,
    ScheduleState,
)
from services.bot_manager.events.announcing import announce
from services.bot_manager.store.rows import to_bot
from services.bot_manager.store.schedule_rows import schedule_values, to_occurrence, to_schedule
from services.bot_manager.store.tables import bots
from services.bot_manager.store.tables.recurring import occurrences, schedules


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
        .returning(schedules.c.id, schedules.c.bot_id, schedules.c.display_name)
    )
    told = [
        schedule_updated(row.bot_id, row.id, f"the schedule {row.display_name or row.id} has come to its end")
        for row in changed
    ]
    await announce(connection, now, *told)
    return len(told)


async def forgive_missed(connection: AsyncConnection, schedule: Schedule) -> None:
    """What was missed is not made up for any more."""
    await connection.execute(
        update(occurrences).where(occurrences.c.schedule_id == schedule.id).values(missed=False)
    )


def _is_fresh() -> ColumnElement[bool]:
    return or_(*(schedules.c.content.has_key(name) for name in sorted(FRESH_SOURCES)))


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
