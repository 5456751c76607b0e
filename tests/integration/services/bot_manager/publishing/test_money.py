"""Limits, credits and budgets as publishing obeys them: sandbox, NATS and several replicas."""

from datetime import timedelta

from services.bot_manager.domain.model import Bot, EntryKind, PostState
from services.bot_manager.domain.money import next_day
from services.bot_manager.store.rows import bot_values
from services.bot_manager.store.tables import bots

from .rig import CLOCK, SECOND, Rig, now

E, S = EntryKind, PostState
POSTS = 32


async def test_of_32_posts_one_asks_for_credits_that_are_not_there(rig: Rig) -> None:
    """The other 31 wait, in a replica too that never heard X's answer, and each story says for what."""
    bot = await rig.bot()
    await rig.fault("credits_depleted", count=POSTS)
    async with rig.replica("worker-1"):
        first = await rig.post(bot, "first")
        await rig.until_attempted(first, "DEFERRED")
    async with rig.replica("worker-2"):
        others = [await rig.post(bot, f"post {number}") for number in range(POSTS - 1)]
        for post in others:
            await rig.until_told(post, E.DEFERRED)
    assert [await rig.outcomes(post) for post in others] == [[]] * (POSTS - 1)
    story = await rig.posts.story(others[0].id, 0, 100)
    told = next(entry for entry in story if entry.kind is E.DEFERRED)
    assert told.details["deferral"]["reason"] == "X_CREDITS_DEPLETED"
    waiting = await rig.posts.get(others[0].id)
    assert waiting.state is S.SCHEDULED
    assert waiting.due_time is not None
    assert waiting.due_time > now() + timedelta(minutes=50)


async def test_a_limit_is_learned_from_x_once_and_obeyed_by_all_replicas(rig: Rig) -> None:
    """A post that meets an empty window is put off to its end before anything is called."""
    bot = await rig.bot()
    await rig.fault("rate_limited", count=1, seconds=600)
    async with rig.replica("worker-1"):
        first = await rig.post(bot, "first")
        await rig.until_attempted(first, "DEFERRED")
    async with rig.replica("worker-2"):
        second = await rig.post(bot, "second")
        await rig.until_told(second, E.DEFERRED)
    assert await rig.outcomes(second) == []
    waiting = await rig.posts.get(second.id)
    assert waiting.due_time is not None
    assert now() + timedelta(minutes=8) < waiting.due_time < now() + timedelta(minutes=11)
    story = await rig.posts.story(second.id, 0, 100)
    told = next(entry.details["deferral"] for entry in story if entry.kind is E.DEFERRED)
    assert (told["reason"], told["operation"]) == ("X_RATE_LIMITED", "POST /2/tweets")


async def test_a_post_beyond_the_budget_waits_for_the_next_day_and_says_so(rig: Rig) -> None:
    """Nothing is called that would cost more than somebody allowed."""
    bot = await rig.bot()
    await limit(rig, bot, 20_000)
    async with rig.replica():
        await rig.until(await rig.post(bot, "fits"), S.PUBLISHED)
        post = await rig.post(bot, "does not")
        await rig.until_told(post, E.DEFERRED)
    waiting = await rig.posts.get(post.id)
    assert (waiting.state, waiting.due_time) == (S.SCHEDULED, next_day(CLOCK.now()))
    assert len(await rig.shown()) == 1
    assert await rig.outcomes(post) == []
    later = waiting.due_time + SECOND if waiting.due_time else now()
    assert await rig.ledger.miss_late(max(later, now() + timedelta(hours=2)), 10) == [post.id]
    kinds = await rig.kinds(post)
    assert kinds[-2:] == [E.DEFERRED, E.MISSED]


async def limit(rig: Rig, bot: Bot, daily: int) -> None:
    """Give the bot a budget for a day."""
    values = bot_values(bot) | {"budget": {"daily_usd_micros": str(daily)}}
    async with rig.database.transaction() as connection:
        await connection.execute(bots.update().where(bots.c.id == bot.id).values(values))
