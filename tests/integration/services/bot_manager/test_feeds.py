"""What schedules see of their feeds, on the real database: nothing twice, nothing lost, nothing of a feed that gives nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from mesh.database import Database
from mesh.errors import FailedPrecondition, Unavailable
from mesh.ids import new_id
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.domain.recurrence.model import Notation, Occurrence, Recurrence, Schedule
from services.bot_manager.domain.rules import Draft
from services.bot_manager.feeds.model import FeedBody, Validators
from services.bot_manager.feeds.reader import FeedReader
from services.bot_manager.feeds.source import FeedSource
from services.bot_manager.schedules.source import Item, Skip
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.feeds import FORGET, LEAD, PostgresFeeds
from services.bot_manager.store.tables.feeds import feed_items
from services.bot_manager.store.tables.recurring import schedules
from tests.fakes.clock import ManualClock

from .conftest import NOW, AddBot

URL = "https://example.com/feed"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Newspaper:
    """A feed that a test writes; newest first, as feeds are."""

    def __init__(self) -> None:
        self.items: list[tuple[str, datetime | None]] = []
        self.failure = ""
        self.asked: list[tuple[str, Validators]] = []
        self._edition = 0

    def print(self, name: str, published: datetime | None = None) -> None:
        """One more item."""
        self.items.insert(0, (name, published))
        self._edition += 1

    def drop(self, name: str) -> None:
        """One item less."""
        self.items = [item for item in self.items if item[0] != name]
        self._edition += 1

    async def fetch(self, url: str, validators: Validators) -> FeedBody | None:
        """See the port."""
        self.asked.append((url, validators))
        await asyncio.sleep(0)
        if self.failure:
            raise FailedPrecondition("CONTENT_UNAVAILABLE", self.failure)
        if validators.etag == str(self._edition):
            return None
        entries = "".join(
            f"<item><guid>{name}</guid><title>{name}</title><link>https://example.com/{name}</link>"
            + (f"<pubDate>{published:%a, %d %b %Y %H:%M:%S} GMT</pubDate>" if published else "")
            + "</item>"
            for name, published in self.items
        )
        text = f'<rss version="2.0"><channel><title>x</title>{entries}</channel></rss>'
        return FeedBody(text.encode(), "application/rss+xml", Validators(str(self._edition)))


class Desk:
    """A schedule with a feed, the reader, and the source as an expander asks it."""

    def __init__(self, database: Database, bot: Bot, content: dict[str, Any]) -> None:
        self.database = database
        self.clock = ManualClock(NOW)
        self.paper = Newspaper()
        self.woken: list[bool] = []
        self.readers = [FeedReader(PostgresFeeds(database), self.paper, self.clock) for _ in range(2)]
        self.source = FeedSource(
            lambda template: Draft(text=template["text"]), lambda: self.woken.append(True)
        )
        feed = {"url": URL, "post": {"text": "{{ item.title }}"}, **content}
        self.schedule = Schedule(
            new_id(), bot.id, Recurrence(Notation.CRON, "0 * * * *"), "UTC", NOW, {"feed": feed}, NOW, NOW
        )

    async def store(self) -> None:
        one = self.schedule
        values: dict[str, Any] = {
            "id": one.id,
            "bot_id": one.bot_id,
            "notation": "cron",
            "rule": one.recurrence.text,
            "time_zone": "UTC",
            "start_time": NOW,
            "max_occurrences": 0,
            "jitter": timedelta(),
            "misfire_policy": "SKIP",
            "max_catch_up": 0,
            "exclusions": [],
            "blackout_windows": [],
            "content": one.content,
            "state": "ACTIVE",
            "display_name": "",
            "creator": "",
            "occurrence_count": 0,
            "next_time": NOW + HOUR,
            "last_skip_message": "",
            "version": 1,
            "create_time": NOW,
            "update_time": NOW,
        }
        async with self.database.transaction() as connection:
            await connection.execute(insert(schedules).values(values))

    async def read(self) -> int:
        """As two replicas look at the same time; how many feeds they read together."""
        return sum(await asyncio.gather(*(reader.look() for reader in self.readers)))

    async def hour(self) -> Sequence[Item] | Skip:
        """The next occurrence, as it comes: its feed is read, and it takes its items."""
        nominal = await self.come_near()
        await self.read()
        return await self.take(nominal)

    async def come_near(self) -> datetime:
        """Two minutes before the next occurrence."""
        async with self.database.transaction() as connection:
            mine = schedules.c.id == self.schedule.id
            nominal = (await connection.execute(select(schedules.c.next_time).where(mine))).scalar_one()
            assert isinstance(nominal, datetime)
        await self.clock.advance(nominal - 2 * MINUTE - self.clock.now())
        return nominal

    async def take(self, nominal: datetime, *, commit: bool = True) -> Sequence[Item] | Skip:
        """What an occurrence gets."""
        occurrence = Occurrence(nominal.replace(tzinfo=None), nominal, nominal, nominal)
        async with self.database.transaction() as connection:
            taken = await self.source.take(connection, self.schedule, occurrence, self.clock.now())
            mine = schedules.c.id == self.schedule.id
            await connection.execute(update(schedules).where(mine).values(next_time=nominal + HOUR))
            if not commit:
                await connection.rollback()
        return taken

    async def known(self) -> int:
        """How many items are remembered."""
        async with self.database.read() as connection:
            return int((await connection.execute(select(func.count()).select_from(feed_items))).scalar_one())


def titles(taken: Sequence[Item] | Skip) -> list[str]:
    return [] if isinstance(taken, Skip) else [item.values["item"]["title"] for item in taken]


MakeDesk = Callable[..., Awaitable[Desk]]


@pytest.fixture
def make(database: Database, add_bot: AddBot) -> MakeDesk:
    async def desk(*printed: str, **content: Any) -> Desk:
        made = Desk(database, await add_bot(), content)
        for name in printed:
            made.paper.print(name)
        await made.store()
        assert await made.read() == 1
        return made

    return desk


async def test_news_comes_once_and_what_was_there_before_counts_as_seen(make: MakeDesk) -> None:
    """A new schedule must not flood an account with last year's news."""
    desk = await make("old")
    desk.paper.print("one")
    assert titles(await desk.hour()) == ["one"]
    assert await desk.hour() == Skip("the feed has nothing new")
    desk.paper.print("two")
    desk.paper.print("three")
    assert titles(await desk.hour()) == ["two"]
    assert titles(await desk.hour()) == ["three"]
    assert await desk.hour() == Skip("the feed has nothing new")


async def test_what_was_there_before_is_published_if_that_is_asked_for(make: MakeDesk) -> None:
    """The oldest first, as many as one occurrence may."""
    desk = await make("one", "two", "three", include_existing=True, max_items=2)
    assert titles(await desk.hour()) == ["one", "two"]
    assert titles(await desk.hour()) == ["three"]


async def test_the_oldest_by_their_own_date_come_first(make: MakeDesk) -> None:
    """A feed need not be in order."""
    desk = await make(max_items=10)
    for name, minutes in (("b", 20), ("c", 30), ("a", 10)):
        desk.paper.print(name, NOW + minutes * MINUTE)
    taken = await desk.hour()
    assert titles(taken) == ["a", "b", "c"]
    assert not isinstance(taken, Skip)
    assert taken[0].draft == Draft(text="{{ item.title }}")
    assert taken[0].values["item"] == {
        "title": "a",
        "link": "https://example.com/a",
        "summary": "",
        "author": "",
        "published": NOW + 10 * MINUTE,
    }


async def test_an_item_that_is_too_old_is_never_published(make: MakeDesk) -> None:
    """Not now, and not when nothing else is left."""
    desk = await make(max_age="1800s", max_items=10)
    desk.paper.print("late", NOW)
    desk.paper.print("new", NOW + 50 * MINUTE)
    assert titles(await desk.hour()) == ["new"]
    desk.schedule = replace(desk.schedule, content={"feed": {"url": URL, "post": {"text": "x"}}})
    assert titles(await desk.hour()) == []


async def test_a_feed_that_does_not_answer_skips_the_occurrence_and_nothing_is_forgotten(
    make: MakeDesk,
) -> None:
    """Its news comes when it is back, once."""
    desk = await make("old")
    desk.paper.print("one")
    desk.paper.failure = "the feed answers with status 503"
    assert await desk.hour() == Skip("the feed answers with status 503")
    desk.paper.failure = ""
    assert titles(await desk.hour()) == ["one"]
    assert titles(await desk.hour()) == []


async def test_a_feed_is_tried_again_before_its_occurrence_is_made(make: MakeDesk) -> None:
    """One lost packet must not cost an hour."""
    desk = await make()
    desk.paper.print("one")
    nominal = await desk.come_near()
    desk.paper.failure = "the feed cannot be reached"
    assert await desk.read() == 1
    assert await desk.read() == 0
    await desk.clock.advance(timedelta(seconds=20))
    desk.paper.failure = ""
    assert await desk.read() == 1
    assert titles(await desk.take(nominal)) == ["one"]


async def test_a_feed_that_nobody_has_looked_at_is_waited_for(make: MakeDesk) -> None:
    """What was read long ago says nothing of the news."""
    desk = await make()
    desk.paper.print("one")
    nominal = await desk.come_near()
    with pytest.raises(Unavailable):
        await desk.take(nominal)
    assert desk.woken == [True]
    await desk.read()
    assert titles(await desk.take(nominal)) == ["one"]


async def test_items_of_an_expansion_that_failed_are_there_for_the_next(make: MakeDesk) -> None:
    """They are taken if the posts are made, and not otherwise."""
    desk = await make()
    desk.paper.print("one")
    nominal = await desk.come_near()
    await desk.read()
    assert titles(await desk.take(nominal, commit=False)) == ["one"]
    assert titles(await desk.take(nominal)) == ["one"]


async def test_two_replicas_read_a_feed_once_and_only_when_it_is_time(make: MakeDesk) -> None:
    """Servers of feeds shut out those that come too often."""
    desk = await make()
    assert len(desk.paper.asked) == 1
    await desk.clock.advance(HOUR - LEAD - timedelta(seconds=1))
    assert await desk.read() == 0
    await desk.clock.advance(timedelta(seconds=1))
    assert await desk.read() == 1
    assert len(desk.paper.asked) == 2
    assert desk.paper.asked[1][1] == Validators("0")


async def test_an_item_that_stays_in_the_feed_never_comes_twice_and_others_are_forgotten_in_time(
    make: MakeDesk,
) -> None:
    """The seen-set must neither lose what matters nor grow for ever."""
    desk = await make("keeps", "goes")
    desk.paper.drop("goes")
    assert titles(await desk.hour()) == []
    assert await desk.known() == 2
    await desk.clock.advance(FORGET + HOUR)
    async with desk.database.transaction() as connection:
        await connection.execute(update(schedules).values(next_time=desk.clock.now() + HOUR))
    desk.paper.print("new")
    assert titles(await desk.hour()) == ["new"]
    assert await desk.known() == 2
    assert titles(await desk.hour()) == []


async def test_another_address_begins_anew(make: MakeDesk) -> None:
    """What the new feed holds counts as seen, and what was left of the old one is not published."""
    desk = await make()
    desk.paper.print("one")
    await desk.come_near()
    await desk.read()
    moved = {"url": f"{URL}/2", "post": {"text": "x"}}
    desk.schedule = replace(desk.schedule, content={"feed": moved})
    async with desk.database.transaction() as connection:
        await connection.execute(update(schedules).values(content={"feed": moved}))
    assert await desk.read() == 1
    assert desk.paper.asked[-1] == (f"{URL}/2", Validators())
    assert titles(await desk.hour()) == []
    desk.paper.print("two")
    assert titles(await desk.hour()) == ["two"]


async def test_the_feed_of_a_stopped_bot_is_left_alone(make: MakeDesk, bots: PostgresBots) -> None:
    """Nothing is published, so nothing is asked for."""
    desk = await make()
    await bots.change(desk.schedule.bot_id, lambda bot: replace(bot, state=BotState.PAUSED), NOW)
    await desk.come_near()
    assert await desk.read() == 0
