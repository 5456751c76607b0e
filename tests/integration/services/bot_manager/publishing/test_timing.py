"""Black-out windows and paces where they count: right before X is called, on the real database, over several replicas."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mesh.database import Database
from services.bot_manager.domain.model import (
    Answer,
    Attempt,
    AttemptOutcome,
    Bot,
    EntryKind,
    Post,
    PostState,
)
from services.bot_manager.publishing.checks import PutOff
from services.bot_manager.publishing.rendered import Rendered
from services.bot_manager.publishing.timing import Timing
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.pacing import PostgresPace
from services.bot_manager.store.ports import Finish, Intent, Release
from services.bot_manager.store.posts import PostgresPosts
from tests.fakes.clock import ManualClock
from tests.integration.services.bot_manager.conftest import NOW, AddBot, AddPost
from tests.integration.services.bot_manager.publishing.rig import CLOCK, Rig, now

LEASE = timedelta(minutes=1)
MINUTE = timedelta(minutes=1)
ALL_DAY = {"blackout_windows": [{}]}


class Desk:
    """Replicas of the check, and the ledger that moves posts on."""

    def __init__(self, database: Database) -> None:
        self.clock = ManualClock(NOW)
        self.ledger = PostgresLedger(database, "test-1")
        self.bots = PostgresBots(database, "test-1")
        self.posts = PostgresPosts(database, "test-1")
        self.replicas = [Timing(PostgresPace(database), self.clock) for _ in range(2)]

    async def advance(self, time: timedelta) -> None:
        await self.clock.advance(time)

    async def claim(self) -> list[Post]:
        """All that is due, taken by a worker."""
        claims = await self.ledger.claim_due("w", self.clock.now(), LEASE, 100)
        return [held.post for held in await self.ledger.take(claims, "w", self.clock.now(), LEASE)]

    async def ask(self, post: Post, replica: int = 0) -> PutOff | None:
        part = post.next_part
        assert part is not None
        return await self.replicas[replica](post, await self.bots.get(post.bot_id), part)

    async def send(self, post: Post, x_post_id: str) -> Post:
        """The next part goes to X, which takes it; without an id nobody knows."""
        part = post.next_part
        assert part is not None
        intent = Intent(post.id, part.index, post.claim_fence, "hash")
        (attempt,) = await self.ledger.begin_attempts([intent], "w", self.clock.now(), LEASE)
        assert isinstance(attempt, Attempt)
        answer = Answer(AttemptOutcome.ACCEPTED, x_post_id=x_post_id)
        if not x_post_id:
            answer = Answer(AttemptOutcome.UNKNOWN)
        finish = Finish(attempt, answer)
        (after,) = await self.ledger.finish_attempts([finish], self.clock.now(), LEASE)
        assert after is not None
        return after

    async def give_way(self, post: Post, verdict: PutOff) -> None:
        """As the sender obeys."""
        release = Release(post.id, post.claim_fence, verdict.until, verdict.reason, verdict.message)
        assert await self.ledger.release([release], self.clock.now()) == 1


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


MakeBot = Callable[..., Awaitable[Bot]]


@pytest.fixture
def paced(desk: Desk, add_bot: AddBot) -> MakeBot:
    """A bot with a policy."""

    async def make(**policy: Any) -> Bot:
        return await desk.bots.change((await add_bot()).id, lambda bot: replace(bot, policy=policy), NOW)

    return make


async def test_of_posts_that_are_due_at_once_one_goes_and_the_others_line_up(
    desk: Desk, paced: MakeBot, add_post: AddPost
) -> None:
    """Replicas look at the same moment; the database lets one through."""
    bot = await paced(min_interval="600s")
    for _ in range(6):
        await add_post(bot, lateness=timedelta(days=1))
    held = await desk.claim()
    verdicts = await asyncio.gather(*(desk.ask(post, number % 2) for number, post in enumerate(held)))
    (winner,) = [post for post, verdict in zip(held, verdicts, strict=True) if verdict is None]
    await desk.send(winner, "1")
    for post, verdict in zip(held, verdicts, strict=True):
        if verdict is not None:
            assert verdict.until == NOW + timedelta(seconds=15)
            await desk.give_way(post, verdict)
    await desk.advance(timedelta(seconds=15))
    again = await desk.claim()
    assert len(again) == 5
    places = []
    for post in again:
        verdict = await desk.ask(post)
        assert verdict is not None
        places.append(verdict.until)
        await desk.give_way(post, verdict)
    assert places == [NOW + 10 * MINUTE * n for n in range(1, 6)]


async def test_the_interval_counts_from_what_was_published_or_may_have_been(
    desk: Desk, paced: MakeBot, add_post: AddPost
) -> None:
    """A post of unknown outcome may be on X; the next one keeps its distance from it too."""
    bot = await paced(min_interval="600s")
    for x_post_id in ("1", ""):
        await add_post(bot)
        (held,) = await desk.claim()
        assert await desk.ask(held) is None
        await desk.send(held, x_post_id)
        began = desk.clock.now()
        await desk.advance(MINUTE)
        await add_post(bot)
        (next_one,) = await desk.claim()
        verdict = await desk.ask(next_one)
        assert verdict is not None
        assert (verdict.until, verdict.reason) == (began + 10 * MINUTE, "POLICY_VIOLATION")
        await desk.give_way(next_one, verdict)
        await desk.advance(9 * MINUTE)
        (next_one,) = await desk.claim()
        assert await desk.ask(next_one) is None
        await desk.send(next_one, f"{x_post_id}2")
        await desk.advance(10 * MINUTE)


async def test_a_post_that_was_let_through_and_put_off_does_not_hold_up_the_others(
    desk: Desk, paced: MakeBot, add_post: AddPost
) -> None:
    """X closed its door to it, or it failed: it has not been seen by anybody."""
    bot = await paced(min_interval="600s")
    first, second = [await add_post(bot) for _ in range(2)]
    held = {post.id: post for post in await desk.claim()}
    assert await desk.ask(held[first.id]) is None
    assert await desk.ask(held[first.id], 1) is None
    assert await desk.ask(held[second.id]) is not None
    await desk.give_way(held[first.id], PutOff(NOW + MINUTE, "X_RATE_LIMITED", "later"))
    assert await desk.ask(held[second.id], 1) is None


async def test_the_parts_of_a_thread_follow_each_other_without_asking(
    desk: Desk, paced: MakeBot, add_post: AddPost
) -> None:
    """The interval is between posts."""
    bot = await paced(min_interval="600s")
    await add_post(bot, "one", "two")
    (held,) = await desk.claim()
    assert await desk.ask(held) is None
    assert await desk.ask(await desk.send(held, "1")) is None


async def test_a_day_has_so_many_parts_and_goes_on_at_midnight(
    desk: Desk, paced: MakeBot, add_post: AddPost
) -> None:
    """Three parts fit; what is let through and not sent yet counts, else two replicas would send four."""
    bot = await paced(max_posts_per_day=3)
    thread, single, late = [await add_post(bot, *texts) for texts in (("a", "b"), ("c",), ("d",))]
    held = {post.id: post for post in await desk.claim()}
    verdicts = [
        await desk.ask(held[post.id], number % 2) for number, post in enumerate((thread, single, late))
    ]
    assert verdicts[:2] == [None, None]
    assert verdicts[2] is not None
    assert verdicts[2].until == NOW.replace(hour=0) + timedelta(days=1)
    after = await desk.send(held[thread.id], "1")
    assert await desk.ask(after, 1) is None
    await desk.send(after, "2")
    await desk.send(held[single.id], "3")
    assert await desk.ask(held[late.id]) == verdicts[2]


async def test_yesterdays_posts_do_not_count(desk: Desk, paced: MakeBot, add_post: AddPost) -> None:
    """The number is for a day on the bot's clock."""
    bot = await paced(max_posts_per_day=1)
    await add_post(bot)
    (held,) = await desk.claim()
    assert await desk.ask(held) is None
    await desk.send(held, "1")
    await desk.advance(timedelta(hours=12))
    await add_post(bot, due=desk.clock.now())
    (held,) = await desk.claim()
    assert await desk.ask(held) is None


async def test_bots_do_not_slow_each_other(
    desk: Desk, paced: MakeBot, add_bot: AddBot, add_post: AddPost
) -> None:
    """Each keeps its own pace, and one without rules asks nobody."""
    bot, other = await paced(min_interval="600s"), await add_bot("other")
    rival = await add_bot("rival")
    await desk.bots.change(rival.id, lambda one: replace(one, policy={"min_interval": "600s"}), NOW)
    for one in (bot, other, other, rival):
        await add_post(one)
    assert [await desk.ask(post) for post in await desk.claim()] == [None] * 4


async def test_what_is_remembered_of_posts_let_through_does_not_grow(
    desk: Desk, paced: MakeBot, add_post: AddPost, database: Database
) -> None:
    """Only those that are held matter."""
    bot = await paced(max_posts_per_day=100)
    for number in range(3):
        await add_post(bot)
        (held,) = await desk.claim()
        assert await desk.ask(held) is None
        await desk.send(held, str(number + 1))
    async with database.read() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM let_through")).scalar_one() == 1


async def test_a_post_due_in_a_black_out_window_goes_out_at_its_end(rig: Rig) -> None:
    """With the way to X as it is in production, and the story says why."""
    bot = await rig.bot()
    silent = await rig.bots.change(bot.id, lambda one: replace(one, policy=ALL_DAY), now())
    post = await rig.post(bot)
    timing = Timing(PostgresPace(rig.database), CLOCK)
    async with rig.replica(checks=(timing,)):
        await rig.until_told(post, EntryKind.DEFERRED)
        waiting = await rig.until(post, PostState.SCHEDULED)
        assert waiting.due_time is not None
        assert waiting.due_time > now() + timedelta(days=30)
        await rig.bots.change(silent.id, lambda one: replace(one, policy=None), now())
        assert await rig.shown() == []


async def test_a_window_that_ends_too_late_makes_the_post_missed(rig: Rig) -> None:
    """It waits as long as it may, and then says that it was too late."""
    bot = await rig.bot()
    await rig.bots.change(bot.id, lambda one: replace(one, policy=ALL_DAY), now())
    post = await rig.post(bot, lateness=timedelta(seconds=2))
    async with rig.replica(checks=(Timing(PostgresPace(rig.database), CLOCK),)):
        missed = await rig.until(post, PostState.MISSED)
    assert missed.failure is not None
    assert missed.failure.reason == "DEADLINE_MISSED"
    assert await rig.shown() == []


async def test_a_paced_bot_publishes_its_posts_apart(rig: Rig) -> None:
    """All the way to X, over two replicas."""
    bot = await rig.bot()
    await rig.bots.change(bot.id, lambda one: replace(one, policy={"min_interval": "0.5s"}), now())
    posts = [await rig.post(bot, f"post {number}") for number in range(4)]
    async with (
        rig.replica("a", checks=(Timing(PostgresPace(rig.database), CLOCK),)),
        rig.replica("b", checks=(Timing(PostgresPace(rig.database), CLOCK),)),
    ):
        done = [await rig.until(post, PostState.PUBLISHED) for post in posts]
    times = sorted(post.publish_time for post in done if post.publish_time is not None)
    assert all(later - earlier >= timedelta(seconds=0.5) for earlier, later in itertools.pairwise(times))
    assert len(await rig.shown()) == 4


async def test_a_template_that_was_never_rendered_is_not_sent(rig: Rig) -> None:
    """Its braces would be public; a failed post can be mended."""
    bot = await rig.bot()
    raw = await rig.post(bot, "{{ bot.handle }}", template={})
    written = await rig.post(bot, "{{ plain }}")
    async with rig.replica(checks=(Rendered(CLOCK),)):
        failed = await rig.until(raw, PostState.FAILED)
        await rig.until(written, PostState.PUBLISHED)
    assert failed.failure is not None
    assert failed.failure.reason == "TEMPLATE_FAILED"
    assert len(await rig.shown()) == 1
