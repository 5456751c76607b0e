"""Misfires, stops, pauses, changes and deletion: what becomes of occurrences and their posts."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mesh.errors import Aborted, InvalidArgument, NotFound
from services.bot_manager.domain.model import BotState, EntryKind, PostState
from services.bot_manager.domain.recurrence.misfires import TOO_LATE
from services.bot_manager.domain.recurrence.model import (
    MisfirePolicy,
    Notation,
    Recurrence,
    ScheduleState,
)
from services.bot_manager.domain.recurrence.posts import MADE_UP

from .world import HOUR, MINUTE, World

S, P, MISSED, CANCELLED = "SCHEDULED", "PUBLISHED", "MISSED", "CANCELLED"
HALF_PAST = Recurrence(Notation.CRON, "30 * * * *")


async def test_after_a_stop_of_the_product_late_posts_are_missed(world: World) -> None:
    """Policy SKIP: nothing is sent hours late; the timeline says why."""
    schedule = await world.add(await world.bot())
    await world.look()
    await world.clock.advance(5 * HOUR + 30 * MINUTE)
    await world.look()
    assert await world.plan(schedule) == [
        *((hour, MISSED, None) for hour in (1, 2, 3)),
        *((hour, S, hour) for hour in (6, 7, 8)),
    ]
    assert [
        (hour, count) for hour, count, message in await world.decided(schedule) if message == TOO_LATE
    ] == [
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 0),
        (5, 0),
    ]
    story = await world.posts.story((await world.made(schedule))[0].id, 0, 9)
    assert (story[-1].kind, story[-1].message) == (EntryKind.MISSED, TOO_LATE)


@pytest.mark.parametrize(
    ("policy", "most", "made_up"),
    [
        (MisfirePolicy.ONCE, 0, [5]),
        (MisfirePolicy.CATCH_UP, 2, [4, 5]),
        (MisfirePolicy.CATCH_UP, 4, [2, 3, 4, 5]),
    ],
)
async def test_the_latest_are_made_up_for_at_once(
    world: World, policy: MisfirePolicy, most: int, made_up: list[int]
) -> None:
    """Whether their posts were made ahead or not, as far apart as the bot's policy asks."""
    bot = await world.bot(policy={"min_interval": "600s"})
    schedule = await world.add(bot, misfire_policy=policy, max_catch_up=most)
    await world.look()
    await world.clock.advance(5 * HOUR + 30 * MINUTE)
    await world.look()
    plan = await world.plan(schedule)
    late = [(hour, round((due - 5.5) * 60)) for hour, state, due in plan if hour < 6 and state == S and due]
    assert late == [(hour, 10 * place) for place, hour in enumerate(made_up)]
    missed = [hour for hour, state, _ in plan if state == MISSED]
    assert missed == [hour for hour in (1, 2, 3) if hour not in made_up]
    made_before = next(post for post in await world.made(schedule) if post.state is PostState.SCHEDULED)
    if made_up[0] < 4:
        told = [entry.message for entry in await world.posts.story(made_before.id, 0, 9)]
        assert MADE_UP in told
    await world.look()
    assert await world.plan(schedule) == plan, "made up for once"


async def test_within_its_grace_a_late_post_is_sent(world: World) -> None:
    """A restart of a minute costs nothing."""
    schedule = await world.add(await world.bot(), misfire_grace=10 * MINUTE)
    await world.look()
    await world.clock.advance(HOUR + 9 * MINUTE)
    await world.look()
    assert (await world.plan(schedule))[0] == (1, S, 1)
    assert len(await world.publish_due()) == 1


async def test_a_stopped_bot_misses_and_resumes(world: World) -> None:
    """While it is stopped nothing is made; then the policy counts."""
    bot = await world.bot()
    skipping = await world.add(bot)
    once = await world.add(bot, misfire_policy=MisfirePolicy.ONCE)
    await world.look()
    await world.move(bot, BotState.PAUSED)
    for _ in range(5):
        await world.clock.advance(HOUR)
        await world.look()
    assert [state for _, state, _ in await world.plan(skipping)] == [MISSED] * 3
    assert (await world.view(skipping)).schedule.state is ScheduleState.ACTIVE
    assert (await world.view(skipping)).next_occurrence_time == world.now
    await world.move(bot, BotState.ACTIVE)
    await world.clock.advance(30 * MINUTE)
    await world.look()
    assert await world.plan(skipping) == [
        *((hour, MISSED, None) for hour in (1, 2, 3)),
        *((hour, S, hour) for hour in (6, 7, 8)),
    ]
    assert [row for row in await world.plan(once) if row[1] == S] == [
        (5, S, 5.5),
        *((hour, S, hour) for hour in (6, 7, 8)),
    ]


async def test_a_long_stop_is_gone_through_in_batches(world: World) -> None:
    """Weeks of minutes: each is decided and counted, the latest is made up for."""
    every_minute = Recurrence(Notation.RRULE, "FREQ=MINUTELY;BYSECOND=0")
    world.horizon = MINUTE
    schedule = await world.add(
        await world.bot(), recurrence=every_minute, misfire_policy=MisfirePolicy.CATCH_UP, max_catch_up=2
    )
    await world.clock.advance(timedelta(minutes=1800))
    await world.look()
    decided = await world.decided(schedule)
    assert len(decided) == 1801
    assert [round(hour * 60) for hour, count, _ in decided if count] == [
        *range(1793, 1795),
        *range(1795, 1802),
    ]
    assert (await world.view(schedule)).occurrence_count == 1800


async def test_a_change_makes_posts_anew_that_are_still_to_come(world: World) -> None:
    """What went further, and what is due, stays as it is."""
    schedule = await world.add(await world.bot())
    await world.look()
    await world.clock.advance(HOUR)
    await world.publish_due()
    await world.look()
    await world.change(schedule, content={"text": "other"})
    await world.look()
    made = await world.made(schedule)
    assert [post.parts[0].text for post in made] == ["hello", "other", "other", "other"]
    assert [hour for hour, _, _ in await world.plan(schedule)] == [1, 2, 3, 4]
    await world.change(schedule, recurrence=HALF_PAST)
    await world.look()
    assert [hour for hour, _, _ in await world.plan(schedule)] == [1, 1.5, 2.5, 3.5]
    view = await world.view(schedule)
    assert (view.occurrence_count, view.schedule.occurrence_count) == (1, 4)


async def test_an_occurrence_that_went_further_never_makes_another(world: World) -> None:
    """Even if its time is still to come: someone sent it early, or called it off."""
    schedule = await world.add(await world.bot())
    await world.look()
    await world.sql(
        "UPDATE posts SET state = 'PUBLISHED' WHERE occurrence_time = (SELECT min(occurrence_time) FROM posts)"
    )
    await world.sql(
        "UPDATE posts SET state = 'CANCELLED' WHERE occurrence_time = (SELECT max(occurrence_time) FROM posts)"
    )
    for fields in ({"jitter": MINUTE}, {"jitter": timedelta()}, {"content": {"text": "other"}}):
        await world.change(schedule, **fields)
        await world.look()
    assert [row[:2] for row in await world.plan(schedule)] == [(1, P), (2, S), (3, CANCELLED)]


async def test_a_name_changes_no_post(world: World) -> None:
    """Only what says when and what does."""
    schedule = await world.add(await world.bot())
    await world.look()
    before = await world.made(schedule)
    view = await world.change(schedule, display_name="news", misfire_policy=MisfirePolicy.ONCE)
    assert view.schedule.version == 2
    assert await world.made(schedule) == before


async def test_a_paused_schedule_is_silent_and_makes_up_for_nothing(world: World) -> None:
    """Whatever its misfire policy."""
    schedule = await world.add(await world.bot(), misfire_policy=MisfirePolicy.ONCE)
    await world.look()
    await world.clock.advance(HOUR)
    view = await world.change(schedule, state=ScheduleState.PAUSED)
    assert (view.schedule.state, view.next_occurrence_time) == (ScheduleState.PAUSED, None)
    assert await world.plan(schedule) == [(1, CANCELLED, None)]
    await world.clock.advance(4 * HOUR)
    await world.look()
    await world.change(schedule, state=ScheduleState.ACTIVE)
    await world.look()
    assert await world.plan(schedule) == [(1, CANCELLED, None), *((hour, S, hour) for hour in (6, 7, 8))]


async def test_drafts_go_back_to_their_queue(world: World) -> None:
    """They are people's work."""
    bot = await world.bot()
    schedule = await world.add(bot, content={"queue": {"name": "tips"}})
    draft = await world.draft(bot, "first", "tips")
    await world.clock.advance(HOUR - MINUTE)
    await world.look()
    assert (await world.posts.get(draft.id)).state is PostState.SCHEDULED
    await world.change(schedule, recurrence=HALF_PAST)
    returned = await world.posts.get(draft.id)
    assert (returned.state, returned.schedule_id, returned.queue) == (PostState.DRAFT, "", "tips")
    await world.clock.advance(30 * MINUTE)
    await world.look()
    await world.schedules.delete(schedule.id, "", "user-1")
    assert (await world.posts.get(draft.id)).state is PostState.DRAFT


async def test_deleting_calls_off_what_waits(world: World) -> None:
    """The rest stays: what was published is no less published."""
    schedule = await world.add(await world.bot())
    await world.look()
    await world.clock.advance(HOUR)
    await world.publish_due()
    with pytest.raises(Aborted):
        await world.schedules.delete(schedule.id, "stale", "user-1")
    await world.schedules.delete(schedule.id, "", "user-1")
    assert [state for _, state, _ in await world.plan(schedule)] == [P, CANCELLED, CANCELLED]
    with pytest.raises(NotFound):
        await world.view(schedule)
    await world.look()
    assert len(await world.made(schedule)) == 3


async def test_a_completed_schedule_can_be_extended(world: World) -> None:
    """An update of its times makes it ACTIVE again."""
    schedule = await world.add(await world.bot(), end_time=world.now + 90 * MINUTE)
    await world.look()
    await world.clock.advance(2 * HOUR)
    await world.look()
    assert (await world.view(schedule)).schedule.state is ScheduleState.COMPLETED
    view = await world.change(schedule, end_time=world.now + 90 * MINUTE)
    assert view.schedule.state is ScheduleState.ACTIVE
    await world.look()
    assert [hour for hour, _, _ in await world.plan(schedule)] == [1, 3]


async def test_a_change_that_leaves_no_occurrence_is_refused(world: World) -> None:
    """Whoever wants silence pauses or deletes."""
    schedule = await world.add(await world.bot(), max_occurrences=2)
    await world.look()
    await world.change(schedule, max_occurrences=2, jitter=MINUTE)
    impossible = Recurrence(Notation.RRULE, "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30")
    with pytest.raises(InvalidArgument) as refused:
        await world.change(schedule, recurrence=impossible)
    assert refused.value.violations[0].field == "schedule.recurrence"
    with pytest.raises(InvalidArgument) as refused:
        await world.change(schedule, end_time=world.now)
    assert refused.value.reason == "TIME_IN_PAST"
    assert (await world.view(schedule)).schedule.version == 2


async def test_past_starts_make_no_past_posts(world: World) -> None:
    """A start in the past only says in which rhythm."""
    every_other = Recurrence(Notation.RRULE, "FREQ=HOURLY;INTERVAL=2")
    start = world.now - 101 * HOUR
    schedule = await world.add(await world.bot(), recurrence=every_other, start_time=start)
    await world.look()
    assert [hour for hour, _, _ in await world.plan(schedule)] == [1, 3]
    assert replace(schedule, cursor=None).start_time == start


async def test_a_draft_that_was_too_late_goes_back_to_its_queue(world: World) -> None:
    """It is not its author's fault that the product was stopped; the next occurrence takes it."""
    bot = await world.bot()
    schedule = await world.add(bot, content={"queue": {"name": "tips"}})
    draft = await world.draft(bot, "first", "tips")
    await world.clock.advance(HOUR - MINUTE)
    await world.look()
    await world.clock.advance(30 * MINUTE)
    await world.look()
    assert (await world.posts.get(draft.id)).state is PostState.DRAFT
    assert (await world.view(schedule)).schedule.last_skip_message == TOO_LATE
    story = await world.posts.story(draft.id, 0, 9)
    assert TOO_LATE in story[-1].message
    await world.clock.advance(30 * MINUTE)
    await world.look()
    assert await world.plan(schedule) == [(2, S, 2)]
