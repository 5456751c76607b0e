"""The callers' side of schedules on PostgreSQL. Implements `schedule_ports.ScheduleStore`; the expander's is `store/occurrences.py`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, case, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import NotFound
from services.bot_manager.domain.happenings import schedule_created, schedule_deleted, schedule_updated
from services.bot_manager.domain.listing import Condition, Operator, Page, Position, Query
from services.bot_manager.domain.recurrence.model import Schedule, ScheduleState
from services.bot_manager.domain.recurrence.timetable import first, moved_to
from services.bot_manager.events.announcing import announce
from services.bot_manager.store.listing import compare, page_of
from services.bot_manager.store.occurrence_posts import call_off, take_back
from services.bot_manager.store.occurrences import forgive_missed, store_schedule
from services.bot_manager.store.ports import RequestKey
from services.bot_manager.store.requests import first_result, recall
from services.bot_manager.store.schedule_ports import ScheduleChange, ScheduleView
from services.bot_manager.store.schedule_rows import schedule_values, to_schedule
from services.bot_manager.store.tables.recurring import occurrences, schedules

NEXT: Final = "next_occurrence_time"
SECOND: Final = timedelta(seconds=1)


class PostgresSchedules:
    """`instance` names this process in the stories of posts that it changes."""

    def __init__(self, database: Database, instance: str) -> None:
        self._database = database
        self._instance = instance

    async def create(self, schedule: Schedule, key: RequestKey | None) -> ScheduleView:
        """See the port."""
        now = schedule.create_time
        async with self._database.transaction() as connection:
            made = await first_result(connection, key, schedule.id, now) if key else None
            if made is None:
                await connection.execute(insert(schedules).values(schedule_values(schedule)))
                told = schedule_created(schedule.bot_id, schedule.id, _name(schedule))
                await announce(connection, now, told)
            return await _get(connection, made or schedule.id, now)

    async def recall(self, key: RequestKey, now: datetime) -> ScheduleView | None:
        """See the port."""
        async with self._database.read() as connection:
            made = await recall(connection, key, now)
            return None if made is None else await _get(connection, made, now)

    async def get(self, schedule_id: str, now: datetime) -> ScheduleView:
        """See the port."""
        async with self._database.read() as connection:
            return await _get(connection, schedule_id, now)

    async def list(self, query: Query, now: datetime) -> Page[ScheduleView]:
        """See the port."""
        columns = _columns(now)
        conditions = [_condition(columns, condition) for condition in query.conditions]
        chosen = _views(now).where(*conditions)
        statement = page_of(chosen, query, columns[query.order], schedules.c.id)
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).all()
        found = [_to_view(row) for row in rows[: query.limit]]
        if len(rows) <= query.limit:
            return Page(found, None)
        last = found[-1]
        value = last.next_occurrence_time if query.order == NEXT else last.schedule.create_time
        return Page(found, Position(value, last.schedule.id))

    async def change(
        self, schedule_id: str, edit: Callable[[ScheduleView], ScheduleChange], now: datetime, actor: str
    ) -> ScheduleView:
        """See the port."""
        async with self._database.transaction() as connection:
            view = await _get(connection, schedule_id, now, lock=True)
            before, change = view.schedule, edit(view)
            if change.schedule == before:
                return view
            after = replace(change.schedule, version=before.version + 1, update_time=now)
            if change.anew:
                count, earliest = await take_back(connection, before, now, self._instance)
                cursor = before.cursor if earliest is None else earliest - SECOND
                after = replace(after, cursor=cursor, occurrence_count=before.occurrence_count - count)
            if change.from_now:
                after = moved_to(after, now)
            if change.stops:
                reason = "the schedule was paused"
                await call_off(connection, before, now, self._instance, actor, reason)
                await forgive_missed(connection, before)
            await store_schedule(connection, _placed(after))
            told = schedule_updated(after.bot_id, after.id, _told(before, after))
            await announce(connection, now, told)
            return await _get(connection, schedule_id, now)

    async def delete(
        self, schedule_id: str, check: Callable[[Schedule], None], now: datetime, actor: str
    ) -> None:
        """See the port."""
        async with self._database.transaction() as connection:
            schedule = (await _get(connection, schedule_id, now, lock=True)).schedule
            check(schedule)
            await call_off(connection, schedule, now, self._instance, actor, "the schedule was deleted")
            await connection.execute(delete(schedules).where(schedules.c.id == schedule_id))
            told = schedule_deleted(schedule.bot_id, schedule.id, _name(schedule))
            await announce(connection, now, told)


def _told(before: Schedule, after: Schedule) -> str:
    """What an update came to, in a sentence."""
    done = "was changed"
    if after.state is not before.state:
        done = "was paused" if after.state is ScheduleState.PAUSED else "goes on"
    return f"the schedule {_name(after)} {done}"


def _name(schedule: Schedule) -> str:
    return schedule.display_name or schedule.id


def _placed(schedule: Schedule) -> Schedule:
    """With the time of its next undecided occurrence."""
    after = first(schedule) if schedule.state is ScheduleState.ACTIVE else None
    return replace(schedule, next_time=None if after is None else after.nominal_time)


def _columns(now: datetime) -> Mapping[str, ColumnElement[Any]]:
    mine = occurrences.c.schedule_id == schedules.c.id
    decided = (
        select(func.min(occurrences.c.nominal_time))
        .where(mine, occurrences.c.nominal_time > now)
        .correlate(schedules)
        .scalar_subquery()
    )
    last = (
        select(func.max(occurrences.c.nominal_time))
        .where(mine, occurrences.c.nominal_time <= now, occurrences.c.post_count > 0)
        .correlate(schedules)
        .scalar_subquery()
    )
    to_come = (
        select(func.count())
        .select_from(occurrences)
        .where(mine, occurrences.c.nominal_time > now)
        .correlate(schedules)
        .scalar_subquery()
    )
    is_active = schedules.c.state == ScheduleState.ACTIVE.value
    return {
        "bot_id": schedules.c.bot_id,
        "state": schedules.c.state,
        "display_name": schedules.c.display_name,
        "create_time": schedules.c.create_time,
        NEXT: case((is_active, func.least(decided, schedules.c.next_time))),
        "last_occurrence_time": last,
        "passed_count": schedules.c.occurrence_count - to_come,
    }


def _views(now: datetime) -> Select[Any]:
    columns = _columns(now)
    names = (NEXT, "last_occurrence_time", "passed_count")
    return select(schedules, *(columns[name].label(name) for name in names))


def _to_view(row: Row[Any]) -> ScheduleView:
    return ScheduleView(
        to_schedule(row), row.next_occurrence_time, row.last_occurrence_time, row.passed_count
    )


async def _get(
    connection: AsyncConnection, schedule_id: str, now: datetime, *, lock: bool = False
) -> ScheduleView:
    query = _views(now).where(schedules.c.id == schedule_id)
    if lock:
        await connection.execute(
            select(schedules.c.id).where(schedules.c.id == schedule_id).with_for_update()
        )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("SCHEDULE_NOT_FOUND", "no such schedule", metadata={"scheduleId": schedule_id})
    return _to_view(row)


def _condition(columns: Mapping[str, ColumnElement[Any]], condition: Condition) -> ColumnElement[bool]:
    column = columns[condition.field]
    if condition.operator is Operator.CONTAINS:
        return column.icontains(str(condition.value), autoescape=True)
    return compare(column, condition)
