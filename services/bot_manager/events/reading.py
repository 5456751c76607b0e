"""What happened behind a place, in order: out of the stories of posts and out of `events`, merged by their numbers."""

from collections.abc import Iterable
from heapq import merge
from typing import Any, Final

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import OutOfRange
from services.bot_manager.domain.happenings import EventType
from services.bot_manager.domain.snapshots import Snapshot
from services.bot_manager.domain.watching import Batch, Event, Place, Told
from services.bot_manager.events.stories import events_of, rows_of
from services.bot_manager.events.ticks import between
from services.bot_manager.store.tables import post_events
from services.bot_manager.store.tables.news import event_ticks, events

ROWS: Final = 500
TICKS: Final = 50
"""Most ticks read at once: what lies between few is little, even if nobody looked for a while."""


class StoredEvents:
    """Reads events. Every method raises Unavailable or DeadlineExceeded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, place: Place, limit: int = ROWS) -> Batch:
        """The next events behind a place, of about `limit` rows. Raises OutOfRange (RESUME_TOKEN_EXPIRED) if some are gone."""
        async with self._database.read() as connection:
            snapshots = await _snapshots(connection, place)
            upper = max(snapshots)
            if upper == place.tick:
                return Batch((), place)
            text = snapshots[upper]
            first, second = Snapshot.parse(snapshots[place.tick]), Snapshot.parse(text)
            pages = [
                select(table)
                .where(between(table, first, second, text), table.c.event_number > place.number)
                .order_by(table.c.event_number)
                .limit(limit)
                for table in (post_events, events)
            ]
            stories = (await connection.execute(rows_of(pages[0]))).all()
            others = (await connection.execute(pages[1])).all()
        rows = list(merge(stories, others, key=lambda row: int(row.event_number)))[:limit]
        if len(rows) < limit:
            return Batch(_told(rows, place.tick, upper), Place(upper))
        return Batch(_told(rows, place.tick, upper), Place(place.tick, rows[-1].event_number, upper))


async def _snapshots(connection: AsyncConnection, place: Place) -> dict[int, str]:
    """Of the tick at the place, and of the one up to which to read: that of the place, or what is there."""
    number = event_ticks.c.number
    upper = select(number).where(number <= place.tick + TICKS).order_by(number.desc()).limit(1)
    wanted = (place.tick, place.upper) if place.number else (place.tick, upper.scalar_subquery())
    query = select(number, event_ticks.c.snapshot).where(number.in_(wanted))
    found = {row.number: row.snapshot for row in await connection.execute(query)}
    if place.tick not in found or (place.number and place.upper not in found):
        raise expired()
    return found


def _told(rows: Iterable[Row[Any]], tick: int, upper: int) -> list[Told]:
    found: list[Told] = []
    for row in rows:
        made = list(events_of(row)) if "kind" in row._fields else [_event(row)]
        for place, event in enumerate(made, row.event_number - len(made) + 1):
            found.append(Told(event, Place(tick, place, upper), row.event_number))
    return found


def _event(row: Row[Any]) -> Event:
    return Event(
        id=row.id,
        time=row.time,
        type=EventType(row.type),
        actor=row.actor,
        message=row.message,
        bot_id=row.bot_id or "",
        post_id=row.post_id or "",
        schedule_id=row.schedule_id or "",
        app_id=row.app_id or "",
        media_id=row.media_id or "",
        webhook_id=row.webhook_id or "",
        request_id=row.request_id,
        detail=row.detail,
    )


def expired() -> OutOfRange:
    """For a place whose events are gone, or one of another history."""
    return OutOfRange(
        "RESUME_TOKEN_EXPIRED",
        "what happened since is no longer kept; read the lists anew and watch without a token",
    )
