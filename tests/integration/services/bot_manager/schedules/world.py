"""Schedules on real PostgreSQL, any number of expanders, and a clock in the test's hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import select, text, update

from mesh.database import Database
from mesh.ids import new_id
from services.bot_manager.domain import rules
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import Bot, BotState, Part, Post, PostState
from services.bot_manager.domain.recurrence.model import (
    Notation,
    Recurrence,
    Schedule,
    ScheduleState,
)
from services.bot_manager.domain.schedules import ScheduleDraft, Schedules
from services.bot_manager.schedules.checking import ContentChecker
from services.bot_manager.schedules.expander import Expander
from services.bot_manager.schedules.expansion import Expansion, silences_of
from services.bot_manager.schedules.source import Source
from services.bot_manager.schedules.sources import SOURCES
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.posts import PostgresPosts
from services.bot_manager.store.schedule_ports import ScheduleView
from services.bot_manager.store.schedules import PostgresSchedules
from services.bot_manager.store.tables import bots as bot_rows
from services.bot_manager.store.tables import posts as post_rows
from services.bot_manager.store.tables.recurring import occurrences
from services.bot_manager.store.writing import with_parts
from tests.fakes.clock import ManualClock
from tests.fakes.making import PLAIN
from tests.integration.services.bot_manager.conftest import NOW

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LATENESS = timedelta(days=7)
HOURLY = Recurrence(Notation.CRON, "0 * * * *")


@dataclass
class World:
    """What a test holds."""

    database: Database
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    maker: Maker = PLAIN
    horizon: timedelta = 3 * HOUR
    grace: timedelta = 5 * MINUTE
    woken: int = 0

    def __post_init__(self) -> None:
        self.bots = PostgresBots(self.database, "test-1")
        self.posts = PostgresPosts(self.database, "test-1")
        self.store = PostgresSchedules(self.database, "test-1")
        check = ContentChecker(self.maker)
        self.schedules = Schedules(self.store, self.bots, check, silences_of, self.clock, new_id)

    @property
    def now(self) -> datetime:
        """The time of the test."""
        return self.clock.now()

    def expander(self, name: str = "test-1", sources: Mapping[str, Source] = SOURCES) -> Expander:
        """One replica's, as a new process has it."""

        def settings() -> Any:
            return SimpleNamespace(
                horizon=self.horizon.total_seconds(), misfire_grace=self.grace.total_seconds(), tick=1
            )

        def wake() -> None:
            self.woken += 1

        expansion = Expansion(self.maker, sources, new_id, lambda: LATENESS, name)
        return Expander(self.database, expansion, settings, self.clock, name, wake)

    async def look(self) -> None:
        """What a replica does in one look."""
        await self.expander().look()

    async def bot(self, **fields: Any) -> Bot:
        """An active bot."""
        made = Bot(new_id(), f"acme{new_id()[-6:]}", BotState.ACTIVE, NOW, NOW)
        return await self.bots.create(replace(made, **fields), None)

    async def move(self, bot: Bot, state: BotState) -> None:
        """Whatever led there."""
        await self.bots.change(bot.id, lambda found: replace(found, state=state), self.now)

    async def add(self, bot: Bot, text: str = "hello", **fields: Any) -> Schedule:
        """A schedule of every hour."""
        draft = ScheduleDraft(recurrence=HOURLY, content={"text": text})
        view = await self.schedules.create(bot.id, replace(draft, **fields), "user-1", None)
        return view.schedule

    async def view(self, schedule: Schedule) -> ScheduleView:
        """The schedule as callers see it."""
        return await self.schedules.get(schedule.id)

    async def change(self, schedule: Schedule, **fields: Any) -> ScheduleView:
        """Update some of its fields."""
        return await self.schedules.update(
            schedule.id, "", lambda view: replace(as_draft(view.schedule), **fields), "user-1"
        )

    async def draft(self, bot: Bot, words: str, queue: str) -> Post:
        """A draft in a queue."""
        post = Post(new_id(), bot.id, PostState.DRAFT, (Part(0, words),), self.now, self.now, queue=queue)
        change = rules.create(post, None, LATENESS)
        return await self.posts.create(change.post, change.entries, None)

    async def made(self, schedule: Schedule) -> list[Post]:
        """Its posts by nominal time."""
        query = (
            select(post_rows)
            .where(post_rows.c.schedule_id == schedule.id)
            .order_by(post_rows.c.occurrence_time, post_rows.c.occurrence_item)
        )
        async with self.database.read() as connection:
            return await with_parts(connection, (await connection.execute(query)).all())

    async def plan(self, schedule: Schedule) -> list[tuple[float, str, float | None]]:
        """Of each post: nominal hour, state, and hour it goes out, counted from the beginning of the test."""
        return [
            (
                hours(post.occurrence_time),
                post.state.value,
                None if post.due_time is None else hours(post.due_time),
            )
            for post in await self.made(schedule)
        ]

    async def decided(self, schedule: Schedule) -> list[tuple[float, int, str]]:
        """Of each occurrence: nominal hour, number of posts, and why there is none."""
        query = (
            select(occurrences)
            .where(occurrences.c.schedule_id == schedule.id)
            .order_by(occurrences.c.nominal_time)
        )
        async with self.database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [(hours(row.nominal_time), row.post_count, row.skip_message) for row in rows]

    async def publish_due(self) -> Sequence[str]:
        """As the publisher does, all that is due of bots that are ACTIVE; ids of the posts."""
        active = select(bot_rows.c.id).where(bot_rows.c.state == BotState.ACTIVE.value)
        statement = (
            update(post_rows)
            .where(
                post_rows.c.state == "SCHEDULED",
                post_rows.c.due_time <= self.now,
                post_rows.c.bot_id.in_(active),
            )
            .values(state="PUBLISHED", claim_fence=1, attempt_count=1)
            .returning(post_rows.c.id)
        )
        async with self.database.transaction(concludes=False) as connection:
            return (await connection.execute(statement)).scalars().all()

    async def sql(self, statement: str, **values: Any) -> None:
        """Change the record behind everybody's back."""
        async with self.database.transaction(concludes=False) as connection:
            await connection.execute(text(statement), values)


def hours(moment: datetime | None) -> float:
    """Hours since the beginning."""
    assert moment is not None
    return (moment - NOW) / HOUR


def as_draft(schedule: Schedule) -> ScheduleDraft:
    """A schedule as somebody would describe it again."""
    names = set(ScheduleDraft.__slots__)
    values = {name: getattr(schedule, name) for name in names}
    state = None if schedule.state is ScheduleState.COMPLETED else schedule.state
    return ScheduleDraft(**{**values, "state": state})
