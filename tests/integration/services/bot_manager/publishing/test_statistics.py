"""Counters of published posts, read from X and kept."""

from mesh.tasks import TaskSet
from services.bot_manager.domain.model import Counters, PostState
from services.bot_manager.publishing.leases import Leases
from services.bot_manager.statistics import Fetcher
from services.bot_manager.store.metrics import PostgresMetrics
from tests.integration.services.bot_manager.publishing.rig import CLOCK, SECOND, Rig


async def test_counters_are_read_for_every_part_and_gone_ones_are_left_alone(rig: Rig) -> None:
    """What people look at afterwards; a deleted post is told as such and not paid for again."""
    bot = await rig.bot()
    async with rig.replica():
        thread = await rig.until(await rig.post(bot, "one", "two"), PostState.PUBLISHED)
        single = await rig.until(await rig.post(bot, "three"), PostState.PUBLISHED)
    counts = {"impression_count": 1000, "like_count": 12, "url_link_clicks": 4}
    await rig.call("PUT", f"/sandbox/posts/{thread.x_post_ids[0]}/metrics", counts)
    store, x = PostgresMetrics(rig.database), rig.port()
    async with TaskSet() as tasks:
        leases = Leases(rig.secrets, tasks, CLOCK)
        fetcher = Fetcher(store, x, leases, CLOCK)
        assert await fetcher.refresh(bot.id) == 3
        keys = (await leases.get(bot.id, "delete", SECOND)).credentials
        await x._client(keys).delete_tweet(single.x_post_ids[0])
        assert await fetcher.refresh(bot.id) == 2
        assert await fetcher.refresh(bot.id, [single.id]) == 0
    latest = {one.x_post_id: one.counters for one in await store.latest_of_post(thread.id)}
    assert latest[thread.x_post_ids[0]] == Counters(impressions=1000, likes=12, url_clicks=4)
    assert len(await store.of_post(thread.id, None, None, 100)) == 4
    assert await store.gone(single.id)


async def test_a_bot_without_published_posts_costs_nothing(rig: Rig) -> None:
    """Neither a lease nor a call."""
    bot = await rig.bot()
    x = rig.port()
    async with TaskSet() as tasks:
        fetcher = Fetcher(PostgresMetrics(rig.database), x, Leases(rig.secrets, tasks, CLOCK), CLOCK)
        assert await fetcher.refresh(bot.id) == 0
    assert rig.secrets.asked == []
