"""What is told, in which order, and that nothing is missed that commits late."""

from contextlib import AsyncExitStack, suppress
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from mesh.database import Database
from mesh.errors import OutOfRange
from mesh.ids import new_id
from services.bot_manager.domain import rules
from services.bot_manager.domain.happenings import EventType, app_changed, bot_deleted
from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.model import Answer, AttemptOutcome, Change, Failure, Post
from services.bot_manager.domain.watching import Event, Place
from services.bot_manager.events.announcing import announce
from services.bot_manager.events.reading import StoredEvents
from services.bot_manager.events.ticks import Ticks
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.ports import Finish, Intent
from services.bot_manager.store.posts import PostgresPosts
from services.bot_manager.store.tables.news import event_ticks
from tests.integration.services.bot_manager.conftest import NOW, AddBot, AddPost

LEASE = timedelta(minutes=1)


@pytest.fixture
def ticks(database: Database) -> Ticks:
    return Ticks(database)


@pytest.fixture
def events(database: Database) -> StoredEvents:
    return StoredEvents(database)


async def behind(events: StoredEvents, place: Place, limit: int = 500) -> tuple[list[Event], Place]:
    """All events behind a place, read in pages of `limit` rows, and the place behind them."""
    found: list[Event] = []
    while True:
        batch = await events.after(place, limit)
        if batch.place == place:
            return found, place
        found += [told.event for told in batch.told]
        place = batch.place


async def now(ticks: Ticks) -> Place:
    return Place((await ticks.tick()).number)


async def test_a_transaction_that_commits_late_is_told_late_and_not_missed(
    database: Database, ticks: Ticks, events: StoredEvents
) -> None:
    """Numbers and ids are given out in another order than commits: a position in them would pass over what is still open."""
    place = await now(ticks)
    early, late = app_changed(new_id(), "written first"), app_changed(new_id(), "written second")
    async with AsyncExitStack() as stack:
        open_one = await stack.enter_async_context(database.transaction())
        await announce(open_one, NOW, early)
        async with database.transaction() as connection:
            await announce(connection, NOW, late)
        await ticks.tick()
        first, place = await behind(events, place)
    await ticks.tick()
    second, place = await behind(events, place)
    assert [event.message for event in first] == ["written second"]
    assert [event.message for event in second] == ["written first"]
    assert (await behind(events, place))[0] == []


async def test_what_is_rolled_back_is_never_told(
    database: Database, ticks: Ticks, events: StoredEvents
) -> None:
    """An event is true or it is not there."""
    place = await now(ticks)
    with suppress(RuntimeError):
        async with database.transaction() as connection:
            await announce(connection, NOW, app_changed(new_id(), "never"))
            raise RuntimeError
    await ticks.tick()
    assert (await behind(events, place))[0] == []


async def test_who_waits_for_a_bot_is_told_after_who_held_it(
    database: Database, ticks: Ticks, events: StoredEvents, add_bot: AddBot
) -> None:
    """In order per bot: the second transaction began first, and wrote something, and is told second all the same."""
    bot = await add_bot()
    place = await now(ticks)
    async with AsyncExitStack() as stack:
        older = await stack.enter_async_context(database.transaction())
        await announce(older, NOW, app_changed(new_id(), "of the older transaction"))
        async with database.transaction() as younger:
            await younger.execute(text("SELECT 1 FROM bots WHERE id = :id FOR UPDATE"), {"id": bot.id})
            await announce(younger, NOW, bot_deleted(bot))
        await older.execute(text("SELECT 1 FROM bots WHERE id = :id FOR UPDATE"), {"id": bot.id})
        await announce(older, NOW, app_changed(bot.id, "after the younger"))
    await ticks.tick()
    told, _ = await behind(events, place)
    assert [event.message for event in told][1:] == [f"@{bot.handle} was deleted", "after the younger"]


async def test_pages_of_any_size_hold_the_same_events(
    ticks: Ticks, events: StoredEvents, add_bot: AddBot, add_post: AddPost
) -> None:
    """Whoever reads a tick in pieces hears each event, and none twice."""
    place = await now(ticks)
    bot = await add_bot()
    for number in range(4):
        await add_post(bot, f"text {number}")
    await ticks.tick()
    whole, end = await behind(events, place)
    pieces, same_end = await behind(events, place, limit=2)
    assert [event.id for event in pieces] == [event.id for event in whole]
    assert len(whole) == len({event.id for event in whole}) == 9
    assert end == same_end


async def test_the_story_of_a_post_is_told_step_by_step(
    ticks: Ticks, events: StoredEvents, add_bot: AddBot, add_post: AddPost, ledger: PostgresLedger
) -> None:
    """Every step from one state to another is an event, with what was on X by then, and no row beside the story is written for it."""
    place = await now(ticks)
    post = await add_post(await add_bot(), "one")
    [claim] = await ledger.claim_due("worker", NOW, LEASE, 10)
    [taken] = await ledger.take([claim], "worker", NOW, LEASE)
    intent = Intent(post.id, 0, taken.post.claim_fence, "hash")
    [attempt] = await ledger.begin_attempts([intent], "worker", NOW, LEASE)
    answer = Answer(AttemptOutcome.ACCEPTED, 201, x_post_id="1001")
    await ledger.finish_attempts([Finish(attempt, answer)], NOW + LEASE / 2, LEASE)
    await ticks.tick()
    told, _ = await behind(events, place)
    assert [event.type for event in told][:2] == [EventType.BOT_CREATED, EventType.POST_CREATED]
    steps = [event.detail["post_state"] for event in told if event.type is EventType.POST_STATE_CHANGED]
    assert [(step["from_state"], step["to_state"]) for step in steps] == [
        ("POST_STATE_UNSPECIFIED", "POST_STATE_SCHEDULED"),
        ("POST_STATE_SCHEDULED", "POST_STATE_CLAIMED"),
        ("POST_STATE_CLAIMED", "POST_STATE_PUBLISHING"),
        ("POST_STATE_PUBLISHING", "POST_STATE_PUBLISHED"),
    ]
    assert [step["x_post_ids"] for step in steps] == [[], [], [], ["1001"]]
    assert told[-1].message == "the post went from PUBLISHING to PUBLISHED: it is on X"
    assert {event.bot_id for event in told} == {post.bot_id}


async def test_a_failure_is_told_with_its_reason_even_after_the_post_was_tried_again(
    ticks: Ticks, events: StoredEvents, add_bot: AddBot, add_post: AddPost, ledger: PostgresLedger
) -> None:
    """Who resumes a day later still reads why it did not go out then."""
    place = await now(ticks)
    post = await add_post(await add_bot(), "one")
    [claim] = await ledger.claim_due("worker", NOW, LEASE, 10)
    await ledger.give_up(post.id, claim.fence, Failure("X_REJECTED", "X does not like it", NOW), NOW)
    await ticks.tick()
    told, _ = await behind(events, place)
    assert told[-1].detail["post_state"]["failure"]["reason"] == "X_REJECTED"
    assert "X does not like it" in told[-1].message


async def test_a_change_that_is_also_a_step_is_two_events(
    ticks: Ticks, events: StoredEvents, add_bot: AddBot, add_post: AddPost, posts: PostgresPosts
) -> None:
    """Whoever watches changes hears of it, and so does whoever watches states."""
    post = await add_post(await add_bot(), "one")
    place = await now(ticks)
    draft = rules.Draft(text="two")

    def edit(stored: Post) -> Change:
        return rules.edited(stored, rules.revise(stored, draft, NOW, LEASE), "u1", waits=False)

    await posts.change(post.id, edit, NOW)
    await ticks.tick()
    told, _ = await behind(events, place, limit=1)
    assert [event.type for event in told] == [EventType.POST_UPDATED, EventType.POST_STATE_CHANGED]
    assert told[1].detail["post_state"]["to_state"] == "POST_STATE_DRAFT"
    assert told[0].id != told[1].id


async def test_a_deleted_post_is_told_of_and_its_story_is_gone(
    ticks: Ticks, events: StoredEvents, add_bot: AddBot, add_post: AddPost, posts: PostgresPosts
) -> None:
    """A watcher that keeps a list can take it out."""
    post = await add_post(await add_bot(), "one")
    place = await now(ticks)
    await posts.change(post.id, lambda stored: rules.cancel(stored, "u1", ""), NOW)
    await posts.delete(post.id, lambda stored: None, NOW)
    await ticks.tick()
    told, _ = await behind(events, place)
    assert [(event.type, event.post_id) for event in told] == [(EventType.POST_DELETED, post.id)]


async def test_bots_tell_of_their_states(
    ticks: Ticks, events: StoredEvents, add_bot: AddBot, bots: PostgresBots
) -> None:
    """A bot that X suspended is heard of at once, with the reason."""
    bot = await add_bot()
    place = await now(ticks)
    await bots.apply(bot.id, BotEvent.SUSPEND, NOW, "X_ACCOUNT_SUSPENDED", "X says it is suspended")
    await ticks.tick()
    [event], _ = await behind(events, place)
    assert event.type is EventType.BOT_STATE_CHANGED
    assert event.detail["bot_state"]["detail"]["reason"] == "X_ACCOUNT_SUSPENDED"
    assert event.message == "@acme went from ACTIVE to SUSPENDED: X says it is suspended"


async def test_nothing_happens_no_tick(ticks: Ticks, add_bot: AddBot) -> None:
    """An idle fleet writes nothing."""
    first = await ticks.tick()
    again = await ticks.tick()
    await add_bot()
    third = await ticks.tick()
    assert (again.number, again.made) == (first.number, False)
    assert (third.number, third.made) == (first.number + 1, True)


async def test_a_place_older_than_what_is_kept_says_so(
    database: Database, ticks: Ticks, events: StoredEvents, add_bot: AddBot
) -> None:
    """Better an error than a silent hole; what is younger is still there."""
    old = await now(ticks)
    await add_bot("first")
    kept = await now(ticks)
    await add_bot("second")
    await ticks.tick()
    async with database.transaction() as connection:
        await connection.execute(
            event_ticks.update()
            .where(event_ticks.c.number <= kept.tick)
            .values(create_time=NOW - timedelta(days=8))
        )
    await ticks.prune(NOW - timedelta(days=7))
    with pytest.raises(OutOfRange) as refused:
        await events.after(old)
    assert refused.value.reason == "RESUME_TOKEN_EXPIRED"
    assert [event.message for event in (await behind(events, kept))[0]] == ["@second was made"]


async def test_data_from_a_server_that_counted_further_begin_anew(
    database: Database, ticks: Ticks, events: StoredEvents, add_bot: AddBot
) -> None:
    """After a restore elsewhere, ids of transactions are meaningless: nobody is told old things as new, and new ones are told."""
    old = await now(ticks)
    await add_bot("restored")
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE events SET transaction = transaction + 1000000"))
        snapshot = (await connection.execute(select(event_ticks.c.snapshot))).scalar_one()
        _, next_id, _ = snapshot.split(":")
        far = int(next_id) + 1_000_000
        await connection.execute(event_ticks.update().values(snapshot=f"{far}:{far}:"))
    place = await now(ticks)
    await add_bot("new")
    await ticks.tick()
    assert [event.message for event in (await behind(events, place))[0]] == ["@new was made"]
    with pytest.raises(OutOfRange):
        await events.after(old)
