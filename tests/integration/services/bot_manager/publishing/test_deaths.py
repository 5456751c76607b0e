"""A process dies at every moment that its work has, one after the other; another finishes. X never holds a part twice.

The moments are those of `mortal.py`: before and after everything that a worker or a reconciler awaits. One run without death counts them;
then as many processes start as there are moments, each with a post of its own and a moment to die at, all at once.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from mesh.ids import new_id
from mesh.tasks import TaskSet
from sandbox.settings import Settings
from services.bot_manager.domain.model import Bot, Post, PostState
from services.bot_manager.publishing.gate import Gate
from services.bot_manager.publishing.leases import Leases
from services.bot_manager.publishing.ledger import WorkerLedger
from services.bot_manager.publishing.reaper import Reaper
from services.bot_manager.publishing.sender import Sender
from services.bot_manager.store.ports import Claim, ClaimedPost
from services.bot_manager.store.reconciling import PostgresReconciling
from services.bot_manager.store.tables.reconciling import account_reads
from tests.integration.services.bot_manager.publishing.mortal import Life
from tests.integration.services.bot_manager.publishing.rig import (
    CLOCK,
    HASTY,
    SECOND,
    SETTINGS,
    Rig,
    eventually,
    now,
)
from tests.integration.services.bot_manager.publishing.test_reconciling import Later

S = PostState
CALM = replace(
    HASTY,
    rules=replace(HASTY.rules, settle=timedelta()),
    settle_window=timedelta(),
    request_timeout=SECOND * 20,
    lease=SECOND * 60,
)
"""Nothing ends by itself but what the test ends; a look settles at once, since this X hides nothing."""
MOST_MOMENTS = 200

Work = Callable[[Rig, Post, Life], Awaitable[None]]


@pytest.fixture
def sandbox_settings() -> Settings:
    """X takes the same text as often as it comes, so that a double is seen and not refused."""
    return Settings(port=0, rate_limits=False, duplicate_window_seconds=0)


async def sends(rig: Rig, post: Post, life: Life) -> None:
    """A worker in this life publishes the post, claimed before."""
    claim = Claim(post.id, post.bot_id, post.claim_fence)
    async with TaskSet(stop_timeout=SECOND) as tasks:
        ledger = WorkerLedger(life.of(rig.ledger), f"worker {post.id}", lambda: rig.settings.lease, CLOCK)
        sender = Sender(
            ledger,
            life.of(rig.queries),
            life.of(rig.bots),
            life.of(rig.port()),
            life.of(Leases(rig.secrets, tasks, CLOCK)),
            Gate(),
            lambda: rig.settings,
            CLOCK,
        )
        ledger.start(tasks)
        await sender.publish(claim)


async def looks(rig: Rig, post: Post, life: Life) -> None:
    """A reconciler in this life looks at the account of the post's bot."""
    async with TaskSet(stop_timeout=SECOND) as tasks:
        clock = Later()
        clock.ahead = SECOND * 2
        reconciler = rig.reconciler(
            life.of(rig.port()),
            life.of(Leases(rig.secrets, tasks, CLOCK)),
            f"reader {post.id}",
            ledger=life.of(_OfOneBot(rig, post.bot_id)),  # type: ignore[arg-type]  # it looks like one
            store=life.of(PostgresReconciling(rig.database)),
            clock=clock,
        )
        await reconciler.reconcile()


@pytest.mark.parametrize("faults", [(), ("error_500_after",), ("error_500_before",)])
async def test_a_worker_dies_at_every_moment(rig: Rig, faults: Sequence[str]) -> None:
    """Whatever X said, and whether or not anybody heard it."""
    rig.settings = CALM
    whole = Life()
    [post] = await claimed(rig, 1, faults)
    assert await whole.live(sends(rig, post, whole))
    posts = await claimed(rig, whole.lived, faults)
    await all_die(rig, posts, sends)
    await finished(rig, [post, *posts])


@pytest.mark.parametrize("fault", ["error_500_after", "html_502"])
async def test_a_reconciler_dies_at_every_moment(rig: Rig, fault: str) -> None:
    """Adopting and sending again are each one step; whoever comes next finds it done or not begun."""
    rig.settings = CALM
    whole = Life()
    [post] = await lost(rig, 1, fault)
    assert await whole.live(looks(rig, post, whole))
    posts = await lost(rig, whole.lived, fault)
    await all_die(rig, posts, looks)
    await finished(rig, [post, *posts])


async def test_two_replicas_whose_clocks_differ_by_minutes(rig: Rig) -> None:
    """The one that is ahead ends the other's leases at once; fences, late answers and looks at the accounts make up for it."""
    rig.settings = replace(
        SETTINGS, rules=replace(SETTINGS.rules, settle=SECOND / 10), settle_window=SECOND * 4
    )
    posts = []
    for _ in range(20):
        bot = await _bot(rig, ["slow"])
        texts = (f"one of {bot.handle}", f"two of {bot.handle}")
        posts.append(await rig.post(bot, *texts, due=now() - timedelta(minutes=10)))
    ahead, behind = Later(), Later()
    ahead.ahead, behind.ahead = timedelta(minutes=4), timedelta(minutes=-4)
    async with (
        rig.replica("ahead", reconcile=True, clock=ahead),
        rig.replica("behind", reconcile=True, clock=behind),
    ):
        await eventually(lambda: _published(rig, posts), 60)
    shown = Counter(one["text"] for one in await rig.shown())
    assert shown == Counter(part.text for post in posts for part in post.parts)


async def _published(rig: Rig, posts: Sequence[Post]) -> bool:
    return {(await rig.posts.get(post.id)).state for post in posts} == {S.PUBLISHED}


async def all_die(rig: Rig, posts: Sequence[Post], work: Work) -> None:
    """The n-th post's process dies at its n-th moment."""
    assert 10 <= len(posts) < MOST_MOMENTS
    lives = [Life(moments) for moments in range(len(posts))]
    async with TaskSet() as tasks:
        done = [
            tasks.spawn(life.live(work(rig, post, life)), name="process")
            for life, post in zip(lives, posts, strict=True)
        ]
        results = [await one for one in done]
    assert not any(results), "every process dies"
    assert len({life.last for life in lives}) > len(lives) // 3, "of many causes"


async def finished(rig: Rig, posts: Sequence[Post]) -> None:
    """A fresh process, once all leases have ended, brings every post to its end: each part is on X once."""
    await rig.heal()
    clock = Later()
    clock.ahead = timedelta(minutes=10)
    async with TaskSet() as tasks:
        x, leases = rig.port(), Leases(rig.secrets, tasks, CLOCK)
        sender = replace(rig.sender(tasks, x, "fresh", leases=leases), clock=clock)
        sender = replace(sender, ledger=WorkerLedger(rig.ledger, "fresh", lambda: rig.settings.lease, clock))
        sender.ledger.start(tasks)
        reconciler = rig.reconciler(x, leases, "fresh", clock=clock)
        await _forget_readers(rig)

        async def round_is_last() -> bool:
            clock.ahead += timedelta(minutes=1)
            await Reaper(rig.ledger, lambda: None, clock).reap()
            await reconciler.reconcile()
            claims = await rig.ledger.claim_due("fresh", clock.now(), rig.settings.lease, 500)
            await asyncio.gather(*(sender.publish(claim) for claim in claims))
            return await _published(rig, posts)

        await eventually(round_is_last, 30)
    shown = Counter(one["text"] for one in await rig.shown())
    assert shown == Counter(part.text for post in posts for part in post.parts)


async def claimed(rig: Rig, count: int, faults: Sequence[str] = ()) -> list[Post]:
    """Threads of two parts, each of a bot of its own whose account misbehaves at first, all claimed."""

    async def one() -> Post:
        bot = await _bot(rig, faults)
        return await rig.post(bot, f"one of {bot.handle}", f"two of {bot.handle}")

    posts = await asyncio.gather(*(one() for _ in range(count)))
    claims = await rig.ledger.claim_due("claimer", now(), rig.settings.lease, 500)
    assert {claim.post_id for claim in claims} == {post.id for post in posts}
    return [await rig.posts.get(post.id) for post in posts]


async def lost(rig: Rig, count: int, fault: str) -> list[Post]:
    """Posts of unknown outcome, each of a bot of its own; what X does not have has been looked for once, so that the next look decides."""
    posts = await claimed(rig, count, (fault,))
    await asyncio.gather(*(sends(rig, post, Life()) for post in posts))
    found = [await rig.posts.get(post.id) for post in posts]
    assert {post.state for post in found} == {S.UNKNOWN}
    if fault == "html_502":
        async with TaskSet() as tasks:
            clock = Later()
            clock.ahead = SECOND
            leases = Leases(rig.secrets, tasks, CLOCK)
            await rig.reconciler(rig.port(), leases, "first", clock=clock).reconcile()
    return found


async def _bot(rig: Rig, faults: Sequence[str]) -> Bot:
    bot = await rig.bot(f"bot_{new_id()[-12:]}", again=True)
    for fault in faults:
        await rig.fault(fault, user_id=bot.x_user_id)
    return bot


async def _forget_readers(rig: Rig) -> None:
    """The reading of accounts is leased by the database's clock, which a test does not set."""
    async with rig.database.transaction() as connection:
        await connection.execute(delete(account_reads))


class _OfOneBot:
    """A ledger that knows one bot's posts of unknown outcome only."""

    def __init__(self, rig: Rig, bot_id: str) -> None:
        self._ledger = rig.ledger
        self._bot_id = bot_id

    async def unknown_due(self, now: datetime, limit: int, bot_id: str = "") -> Sequence[ClaimedPost]:
        return await self._ledger.unknown_due(now, limit, self._bot_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)
