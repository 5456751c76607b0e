"""The sources that live on what the service has itself: a fixed text or post, a pool, a queue of drafts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.bot_manager.domain.model import PostState
from services.bot_manager.domain.recurrence.model import Occurrence, Schedule
from services.bot_manager.domain.recurrence.pool import Taken, choose
from services.bot_manager.domain.rules import Draft
from services.bot_manager.schedules.drafts import draft_of, duration
from services.bot_manager.schedules.source import Item, Skip, Source
from services.bot_manager.store.tables import posts
from services.bot_manager.store.tables.recurring import occurrences


class FixedText:
    """The same text each time."""

    async def take(
        self, connection: AsyncConnection, schedule: Schedule, occurrence: Occurrence, now: datetime
    ) -> Sequence[Item] | Skip:
        """See the port."""
        return [Item(Draft(text=schedule.content["text"]))]


class FixedPost:
    """The same post each time."""

    async def take(
        self, connection: AsyncConnection, schedule: Schedule, occurrence: Occurrence, now: datetime
    ) -> Sequence[Item] | Skip:
        """See the port."""
        return [Item(draft_of(schedule.content["post"]))]


class Pool:
    """One of several posts; which ones were taken stands in the occurrences."""

    async def take(
        self, connection: AsyncConnection, schedule: Schedule, occurrence: Occurrence, now: datetime
    ) -> Sequence[Item] | Skip:
        """See the port."""
        pool = schedule.content["pool"]
        cool_down = duration(pool.get("cool_down"))
        history = await _taken(connection, schedule, occurrence.nominal_time - cool_down)
        shuffled = pool.get("order") == "POOL_ORDER_SHUFFLED"
        choice = choose(
            schedule,
            pool["items"],
            history,
            occurrence.nominal_time,
            shuffled=shuffled,
            cool_down=cool_down,
        )
        if choice is None:
            return Skip("every post of the pool that may be next is still cooling down")
        return [Item(draft_of(pool["items"][choice.index]), key=choice.key, round=choice.round)]


async def _taken(connection: AsyncConnection, schedule: Schedule, since: datetime) -> list[Taken]:
    """What was taken in the last round or since then, in the order of taking."""
    mine = (occurrences.c.schedule_id == schedule.id, occurrences.c.item_key != "")
    last_round = (
        select(occurrences.c.item_round)
        .where(*mine)
        .order_by(occurrences.c.nominal_time.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(occurrences.c.item_key, occurrences.c.item_round, occurrences.c.nominal_time)
        .where(*mine, (occurrences.c.item_round == last_round) | (occurrences.c.nominal_time > since))
        .order_by(occurrences.c.nominal_time)
    )
    rows = await connection.execute(query)
    return [Taken(row.item_key, row.item_round, row.nominal_time) for row in rows]


class Queue:
    """The oldest draft of the bot in the queue. Drafts that somebody is changing this moment are passed over."""

    async def take(
        self, connection: AsyncConnection, schedule: Schedule, occurrence: Occurrence, now: datetime
    ) -> Sequence[Item] | Skip:
        """See the port."""
        name = schedule.content["queue"]["name"]
        query = (
            select(posts.c.id)
            .where(
                posts.c.bot_id == schedule.bot_id,
                posts.c.state == PostState.DRAFT.value,
                posts.c.queue == name,
            )
            .order_by(posts.c.create_time, posts.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        oldest = (await connection.execute(query)).scalar_one_or_none()
        return Skip(f"the queue {name} is empty") if oldest is None else [Item(Draft(), post_id=oldest)]


SOURCES: Final[Mapping[str, Source]] = {
    "text": FixedText(),
    "post": FixedPost(),
    "pool": Pool(),
    "queue": Queue(),
}
"""By the field of the contract's ScheduleContent. That of feeds is added where the service is put together."""
