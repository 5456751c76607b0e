"""Posts in the next free slot, on the real database: a slot is given to one post only."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from mesh.database import Database
from mesh.ids import new_id
from services.bot_manager.domain.model import Bot, Change, Post, PostState
from services.bot_manager.domain.posts import Posts, When
from services.bot_manager.domain.rules import Draft, DraftPart, cancel
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ports import RequestKey
from services.bot_manager.store.posts import PostgresPosts
from tests.fakes.clock import ManualClock
from tests.fakes.making import PLAIN

from .conftest import LATENESS, NOW, AddBot

HOUR = timedelta(hours=1)
EACH_HOUR = tuple({"at": f"{hour:02}:00"} for hour in range(24))


def cases(database: Database, name: str = "test-1") -> Posts:
    """The use cases, as one replica has them."""
    stores = PostgresPosts(database, name), PostgresBots(database, name)
    return Posts(*stores, ManualClock(NOW), new_id, lambda: LATENESS, PLAIN)


async def with_slots(bots: PostgresBots, bot: Bot, **policy: Any) -> Bot:
    return await bots.change(bot.id, lambda one: replace(one, slots=EACH_HOUR, policy=policy or None), NOW)


async def in_slot(posts: Posts, bot: Bot, *parts: str, key: RequestKey | None = None) -> Post:
    draft = Draft(parts=tuple(DraftPart(text) for text in parts or ("hello",)))
    return await posts.create(bot.id, draft, "ada", key, When.NEXT_FREE_SLOT)


async def test_posts_that_ask_at_once_get_a_slot_each(
    database: Database, bots: PostgresBots, add_bot: AddBot
) -> None:
    """Two posts in one slot would be what slots are there to prevent; replicas know of each other only by the database."""
    bot = await with_slots(bots, await add_bot())
    replicas = [cases(database, f"replica-{number}") for number in range(2)]
    made = await asyncio.gather(*(in_slot(replicas[number % 2], bot) for number in range(12)))
    assert sorted(post.scheduled_time for post in made if post.scheduled_time) == [
        NOW + HOUR * n for n in range(1, 13)
    ]
    assert {post.state for post in made} == {PostState.SCHEDULED}


async def test_bots_do_not_take_slots_from_each_other(
    database: Database, bots: PostgresBots, add_bot: AddBot
) -> None:
    """Each account is a voice of its own."""
    first, second = [await with_slots(bots, await add_bot(handle)) for handle in ("one", "two")]
    made = [await in_slot(cases(database), bot) for bot in (first, second)]
    assert [post.scheduled_time for post in made] == [NOW + HOUR] * 2


async def test_a_post_that_was_called_off_gives_its_slot_back(
    database: Database, bots: PostgresBots, posts: PostgresPosts, add_bot: AddBot
) -> None:
    """And itself it is not touched."""
    bot = await with_slots(bots, await add_bot())
    first, second = [await in_slot(cases(database), bot) for _ in range(2)]
    off = await posts.change(first.id, lambda post: cancel(post, "ada", ""), NOW)
    assert (await in_slot(cases(database), bot)).scheduled_time == first.scheduled_time
    assert (await posts.get(first.id)) == off
    assert second.scheduled_time == NOW + 2 * HOUR


async def test_a_post_with_a_time_of_its_own_takes_the_slot_at_that_time(
    database: Database, bots: PostgresBots, add_bot: AddBot
) -> None:
    """Whoever wrote it meant that moment."""
    bot = await with_slots(bots, await add_bot(), min_interval="1800s")
    draft = Draft(text="at its time", scheduled_time=NOW + HOUR * 1.25)
    await cases(database).create(bot.id, draft, "ada", None)
    assert (await in_slot(cases(database), bot)).scheduled_time == NOW + 2 * HOUR


async def test_what_went_out_today_counts_with_its_parts(
    database: Database, bots: PostgresBots, posts: PostgresPosts, add_bot: AddBot
) -> None:
    """NOW is noon UTC: what was published this morning leaves one for today."""
    bot = await with_slots(bots, await add_bot(), max_posts_per_day=3)
    thread = await in_slot(cases(database), bot, "one", "two")

    def publish(post: Post) -> Change:
        return Change(
            replace(
                post,
                state=PostState.PUBLISHED,
                due_time=None,
                miss_time=None,
                publish_time=NOW - HOUR,
                scheduled_time=NOW - HOUR,
            )
        )

    await posts.change(thread.id, publish, NOW)
    made = [await in_slot(cases(database), bot) for _ in range(2)]
    assert [post.scheduled_time for post in made] == [NOW + HOUR, NOW + 12 * HOUR]


async def test_a_repeat_gets_the_first_slot_again(
    database: Database, bots: PostgresBots, add_bot: AddBot
) -> None:
    """A client that did not hear the answer must not fill a second slot."""
    bot = await with_slots(bots, await add_bot())
    key = RequestKey(new_id(), "CreatePost", "ada", b"hash")
    first, again = [await in_slot(cases(database), bot, key=key) for _ in range(2)]
    assert first == again


async def test_nothing_of_a_post_is_stored_that_found_its_slot_taken(
    database: Database, bots: PostgresBots, posts: PostgresPosts, add_bot: AddBot
) -> None:
    """Its request id is free for the next try."""
    bot = await with_slots(bots, await add_bot())
    key = RequestKey(new_id(), "CreatePost", "ada", b"hash")
    made = await asyncio.gather(
        *(in_slot(cases(database), bot, key=key) for _ in range(4)),
        *(in_slot(cases(database), bot) for _ in range(4)),
    )
    assert len({post.id for post in made[:4]}) == 1
    assert len({post.scheduled_time for post in made}) == 5
