"""Posts are made of occurrences: ahead, each once, whatever dies on the way, and never at the cost of other schedules."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.errors import FailedPrecondition, Unavailable
from mesh.tasks import TaskSet
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import (
    Bot,
    BotState,
    EntryKind,
    Finding,
    Origin,
    PolicyRule,
    Post,
    PostState,
    Severity,
)
from services.bot_manager.domain.recurrence.model import (
    Notation,
    Occurrence,
    Recurrence,
    Schedule,
    ScheduleState,
)
from services.bot_manager.domain.rules import Draft
from services.bot_manager.schedules.source import Item, Skip
from services.bot_manager.schedules.sources import FixedText
from tests.fakes.making import PlainComposer, PlainInspector, PlainShelf
from tests.fakes.mesh import until

from .world import HOUR, MINUTE, World, as_draft, hours

S, P = "SCHEDULED", "PUBLISHED"


async def test_posts_are_made_up_to_the_horizon(world: World) -> None:
    """Ahead, so that people see them; not further, so that few are made anew when something changes."""
    schedule = await world.add(await world.bot())
    await world.look()
    assert await world.plan(schedule) == [(1, S, 1), (2, S, 2), (3, S, 3)]
    await world.clock.advance(HOUR)
    await world.look()
    await world.look()
    assert [hour for hour, _, _ in await world.plan(schedule)] == [1, 2, 3, 4]
    post = (await world.made(schedule))[0]
    assert (post.origin, post.creator, post.schedule_id) == (Origin.SCHEDULE, "bot_manager", schedule.id)
    story = await world.posts.story(post.id, 0, 10)
    assert [entry.kind for entry in story] == [EntryKind.CREATED, EntryKind.SCHEDULED]
    assert world.woken == 2


async def test_replicas_side_by_side_make_each_post_once(world: World) -> None:
    """Nobody leads; rows that one holds are passed over by the others."""
    bots = [await world.bot() for _ in range(3)]
    schedules = [await world.add(bot) for bot in bots for _ in range(4)]
    replicas = [world.expander(f"test-{number}") for number in range(3)]
    for _ in range(3):
        await asyncio.gather(*(replica.look() for replica in replicas))
        await world.clock.advance(HOUR)
    for schedule in schedules:
        assert [hour for hour, _, _ in await world.plan(schedule)] == [1, 2, 3, 4, 5]


class Crash(BaseException):
    """The end of a process."""


class Fragile(FixedText):
    """Dies at the n-th occurrence."""

    def __init__(self, place: int, error: BaseException) -> None:
        self.left = place
        self.error = error

    async def take(
        self, connection: AsyncConnection, schedule: Schedule, occurrence: Occurrence, now: datetime
    ) -> Sequence[Item] | Skip:
        """See the port."""
        self.left -= 1
        if self.left < 0:
            raise self.error
        return await super().take(connection, schedule, occurrence, now)


@pytest.mark.parametrize("place", range(3))
async def test_a_crash_between_steps_neither_loses_nor_doubles_one(world: World, place: int) -> None:
    """Occurrence, posts and cursor are one transaction."""
    schedule = await world.add(await world.bot())
    with pytest.raises(Crash):
        await world.expander(sources={"text": Fragile(place, Crash())}).look()
    assert await world.plan(schedule) == []
    await world.look()
    assert [hour for hour, _, _ in await world.plan(schedule)] == [1, 2, 3]
    assert (await world.view(schedule)).schedule.occurrence_count == 3


async def test_a_schedule_that_fails_stops_no_other(world: World) -> None:
    """It rests, says so, and goes on when it can."""
    bot = await world.bot()
    bad, good = await world.add(bot), await world.add(bot)
    await world.sql("UPDATE schedules SET rule = 'nonsense' WHERE id = :id", id=bad.id)
    await world.look()
    assert [hour for hour, _, _ in await world.plan(good)] == [1, 2, 3]
    assert await world.plan(bad) == []
    await world.sql("UPDATE schedules SET rule = '0 * * * *' WHERE id = :id", id=bad.id)
    await world.look()
    assert await world.plan(bad) == [], "it rests"
    assert "could not be expanded" in (await world.view(bad)).schedule.last_skip_message
    await world.clock.advance(2 * MINUTE)
    await world.look()
    assert [hour for hour, _, _ in await world.plan(bad)] == [1, 2, 3]
    assert (await world.view(bad)).schedule.last_skip_message == ""


async def test_what_is_away_for_a_moment_loses_no_occurrence(world: World) -> None:
    """A refusal is an answer, an outage is not."""
    schedule = await world.add(await world.bot())
    away = Unavailable("INTERNAL", "away")
    await world.expander(sources={"text": Fragile(1, away)}).look()
    assert await world.plan(schedule) == []
    await world.clock.advance(2 * MINUTE)
    await world.look()
    assert [hour for hour, _, _ in await world.plan(schedule)] == [1, 2, 3]


class Strict(PlainInspector):
    """Finds an error in posts of every second hour."""

    async def inspect(self, bot: Bot, post: Post, at: datetime | None, now: datetime) -> Sequence[Finding]:
        """See Inspector."""
        if at is None or hours(at) % 2:
            return ()
        return [Finding(PolicyRule.DUPLICATE, Severity.ERROR, "it repeats another")]


async def test_a_post_that_policy_refuses_is_skipped_and_says_why(world: World) -> None:
    """The next may be well; a schedule that stopped at the first refusal would be silent for ever."""
    world = World(world.database, maker=Maker(PlainShelf(), PlainComposer(), Strict()))
    schedule = await world.add(await world.bot())
    await world.look()
    assert [hour for hour, _, _ in await world.plan(schedule)] == [1, 3]
    assert [(hour, count) for hour, count, _ in await world.decided(schedule)] == [(1, 1), (2, 0), (3, 1)]
    assert "it repeats another" in (await world.decided(schedule))[1][2]
    assert (await world.view(schedule)).schedule.last_skip_message == ""


async def test_an_occurrence_may_make_several_posts(world: World) -> None:
    """News come in bundles; each item is numbered, and one that is refused takes no other with it."""

    class Short(PlainInspector):
        async def inspect(
            self, bot: Bot, post: Post, at: datetime | None, now: datetime
        ) -> Sequence[Finding]:
            too_long = Finding(PolicyRule.TOO_LONG, Severity.ERROR, "it is too long")
            return [too_long] if len(post.parts[0].text) > 280 else ()

    class News:
        async def take(
            self, connection: AsyncConnection, schedule: Schedule, occurrence: Occurrence, now: datetime
        ) -> Sequence[Item] | Skip:
            return [Item(Draft(text=text)) for text in ("one", " ", "three")]

    world = World(world.database, maker=Maker(PlainShelf(), PlainComposer(), Short()))
    schedule = await world.add(await world.bot(), max_occurrences=1)
    await world.expander(sources={"text": News()}).look()
    made = await world.made(schedule)
    assert [(post.parts[0].text, post.occurrence_item) for post in made] == [("one", 0), ("three", 1)]


async def test_a_source_that_has_nothing_skips(world: World) -> None:
    """And one that is not there."""
    schedule = await world.add(await world.bot(), content={"queue": {"name": "tips"}})
    await world.clock.advance(HOUR - MINUTE)
    await world.look()
    assert await world.decided(schedule) == [(1, 0, "the queue tips is empty")]
    assert (await world.view(schedule)).schedule.last_skip_message == "the queue tips is empty"


async def test_a_queue_gives_its_oldest_draft_shortly_before_the_time(world: World) -> None:
    """Until then people may still put one in, or take it out."""
    bot = await world.bot()
    schedule = await world.add(bot, content={"queue": {"name": "tips"}})
    first = await world.draft(bot, "first", "tips")
    await world.draft(bot, "other", "other")
    await world.clock.advance(MINUTE)
    second = await world.draft(bot, "second", "tips")
    await world.look()
    assert await world.plan(schedule) == []
    for expected in (first, second):
        await world.clock.advance(HOUR - MINUTE)
        await world.look()
        taken = await world.posts.get(expected.id)
        assert (taken.state, taken.schedule_id) == (PostState.SCHEDULED, schedule.id)
        assert taken.creator == expected.creator
        await world.publish_due()
        await world.clock.advance(MINUTE)
    assert [entry.kind for entry in await world.posts.story(first.id, 0, 9)] == [
        EntryKind.CREATED,
        EntryKind.SCHEDULED,
    ]


async def test_a_pool_goes_round(world: World) -> None:
    """In turn, and over restarts: what was taken stands in the record."""
    items = [{"text": text} for text in ("one", "two")]
    schedule = await world.add(await world.bot(), content={"pool": {"items": items}})
    for _ in range(3):
        await world.look()
        await world.clock.advance(HOUR)
    assert [post.parts[0].text for post in await world.made(schedule)] == ["one", "two", "one", "two", "one"]


async def test_a_pool_that_cools_down_skips(world: World) -> None:
    """Nothing is repeated sooner than somebody wished."""
    pool = {"items": [{"text": "one"}], "cool_down": "7200s"}
    schedule = await world.add(await world.bot(), content={"pool": pool})
    await world.look()
    assert [(hour, count) for hour, count, _ in await world.decided(schedule)] == [(1, 1), (2, 0), (3, 1)]


async def test_jitter_delays_the_post_and_not_the_occurrence(world: World) -> None:
    """By the draw that the preview showed."""
    schedule = await world.add(await world.bot(), jitter=30 * MINUTE)
    same = as_draft(schedule)
    preview = await world.schedules.preview(schedule.id, "", lambda view: same, 3, None)
    await world.look()
    made = await world.made(schedule)
    assert [hours(post.occurrence_time) for post in made] == [1, 2, 3]
    assert [post.due_time for post in made] == [one.scheduled_time for one in preview.occurrences]
    assert len({one.scheduled_time - one.nominal_time for one in preview.occurrences}) == 3


async def test_windows_of_bot_and_schedule_skip(world: World) -> None:
    """12:00 UTC is when the test begins; the bot is silent from 14:00 on."""
    bot = await world.bot(policy={"blackout_windows": [{"starts_at": "14:00", "ends_at": "15:00"}]})
    schedule = await world.add(bot, blackout_windows=({"starts_at": "15:00", "ends_at": "16:00"},))
    await world.look()
    assert await world.decided(schedule) == [
        (1, 1, ""),
        (2, 0, "a black-out window of the bot covers it"),
        (3, 0, "a black-out window of the schedule covers it"),
    ]


async def test_a_schedule_ends(world: World) -> None:
    """With its last occurrence, not with the post that is made ahead of it."""
    schedule = await world.add(await world.bot(), max_occurrences=2)
    await world.look()
    assert len(await world.made(schedule)) == 2
    assert (await world.view(schedule)).schedule.state is ScheduleState.ACTIVE
    await world.clock.advance(2 * HOUR)
    await world.publish_due()
    await world.look()
    view = await world.view(schedule)
    assert (view.schedule.state, view.next_occurrence_time) == (ScheduleState.COMPLETED, None)
    assert (view.occurrence_count, hours(view.last_occurrence_time)) == (2, 2)


async def test_an_archived_bot_ends_its_schedules(world: World) -> None:
    """There is no way back for the bot either."""
    bot = await world.bot()
    schedule = await world.add(bot)
    await world.move(bot, BotState.ARCHIVED)
    await world.look()
    assert (await world.view(schedule)).schedule.state is ScheduleState.COMPLETED
    with pytest.raises(FailedPrecondition):
        await world.add(bot)


async def test_a_post_that_was_deleted_is_not_made_again(world: World) -> None:
    """An occurrence is decided for ever."""
    schedule = await world.add(await world.bot())
    await world.look()
    post = (await world.made(schedule))[0]
    await world.posts.delete(post.id, lambda found: None, world.now)
    await world.look()
    assert [hour for hour, _, _ in await world.plan(schedule)] == [2, 3]
    await world.change(schedule, jitter=MINUTE)
    await world.look()
    assert [hour for hour, _, _ in await world.plan(schedule)] == [2, 3]


async def test_new_rules_of_a_zone_move_posts_and_repeat_none(world: World) -> None:
    """As if posts had been made under rules by which Berlin was an hour behind."""
    daily = Recurrence(Notation.CRON, "0 17 * * *")
    world.horizon = timedelta(days=2)
    schedule = await world.add(await world.bot(), recurrence=daily, time_zone="Europe/Berlin")
    await world.look()
    assert await world.plan(schedule) == [(3, S, 3), (27, S, 27)]
    earlier = "{0} = {0} - interval '1 hour'".format
    times = ", ".join(map(earlier, ("occurrence_time", "scheduled_time", "due_time")))
    await world.sql(f"UPDATE posts SET {times}")  # noqa: S608 - names from the line above
    times = ", ".join(map(earlier, ("nominal_time", "scheduled_time")))
    await world.sql(f"UPDATE occurrences SET {times}")  # noqa: S608 - names from the line above
    assert await world.plan(schedule) == [(2, S, 2), (26, S, 26)]
    await world.clock.advance(2 * HOUR)
    await world.publish_due()
    await world.expander().begin()
    assert await world.plan(schedule) == [(2, P, 2), (27, S, 27)], (
        "15:00 of that day was said, if an hour early"
    )
    await world.clock.advance(HOUR)
    await world.look()
    assert [hour for hour, _, _ in await world.plan(schedule)] == [2, 27, 51]


async def test_the_loop_looks_when_it_is_woken_and_every_tick(world: World) -> None:
    """Whoever makes a schedule sees its posts at once; publishing waits for the first look and not for ever."""
    expander = world.expander()
    assert not expander.ready()
    bot = await world.bot()
    async with TaskSet() as tasks, asyncio.timeout(30):
        tasks.spawn_loop(expander.run, name="expander")
        await until(expander.ready)
        schedule = await world.add(bot)
        expander.wake()
        while len(await world.made(schedule)) < 3:
            await asyncio.sleep(0.01)
        await until(lambda: world.clock.sleeping > 0)
        await world.clock.advance(HOUR)
        while len(await world.made(schedule)) < 4:
            # A look that took its time before the hour was over sleeps once more.
            await world.clock.advance(timedelta(seconds=1))
            await asyncio.sleep(0.01)


async def test_publishing_does_not_wait_for_a_database_that_is_away(world: World) -> None:
    """Ten seconds are enough to settle what was missed."""
    expander = world.expander()
    await world.clock.advance(timedelta(seconds=11))
    assert expander.ready()
