"""After a change of a zone's rules: instants that were computed under the old ones are computed anew from their wall times.

Only a new process can know new rules, so this is done once when it begins. Occurrences whose posts nobody has claimed yet are decided
again; the others stay, and as their wall times are on record, they never make a second post.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from mesh.database import Database
from mesh.errors import InvalidArgument
from services.bot_manager.domain.recurrence.model import Schedule
from services.bot_manager.domain.recurrence.timetable import first
from services.bot_manager.domain.recurrence.wallclock import resolve, zone_of
from services.bot_manager.store.occurrence_posts import take_back
from services.bot_manager.store.occurrences import (
    lock_schedule,
    occurrences_ahead,
    schedules_ahead,
    store_schedule,
)

PAGE: Final = 200
NO_ID: Final = "00000000-0000-0000-0000-000000000000"
SECOND: Final = timedelta(seconds=1)


async def realign(database: Database, now: datetime, instance: str) -> None:
    """Look at every ACTIVE schedule. Raises MeshError if the database is away; doing it again does no harm."""
    after = NO_ID
    while True:
        async with database.read() as connection:
            page = await schedules_ahead(connection, after, PAGE)
        for schedule in page:
            try:
                await _look(database, schedule, now, instance)
            except InvalidArgument as error:
                logger.bind(schedule_id=schedule.id, reason=error.reason).error("schedule cannot be read")
        if len(page) < PAGE:
            return
        after = page[-1].id


async def _look(database: Database, seen: Schedule, now: datetime, instance: str) -> None:
    async with database.read() as connection:
        ahead = await occurrences_ahead(connection, seen, now)
    zone = zone_of(seen.time_zone, "schedule.time_zone")
    same = all(resolve(one.wall_time, zone).instant == one.nominal_time for one in ahead)
    after = first(seen)
    if same and (after.nominal_time if after else None) == seen.next_time:
        return
    async with database.transaction(concludes=False) as connection:
        schedule = await lock_schedule(connection, seen.id)
        if schedule is None or schedule.version != seen.version:
            return
        if not same:
            count, earliest = await take_back(connection, schedule, now, instance)
            cursor = schedule.cursor if earliest is None else earliest - SECOND
            remaining = schedule.occurrence_count - count
            schedule = replace(schedule, cursor=cursor, occurrence_count=remaining)
        found = first(schedule)
        await store_schedule(connection, replace(schedule, next_time=found.nominal_time if found else None))
    logger.bind(schedule_id=seen.id, time_zone=seen.time_zone).warning(
        "schedule moved by new rules of its zone"
    )
