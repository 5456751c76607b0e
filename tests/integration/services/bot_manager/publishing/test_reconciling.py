"""Posts of unknown outcome: found and adopted, sent again where policy allows, or left to a person; never on X twice."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.errors import ResourceExhausted, Unavailable
from mesh.tasks import TaskSet
from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.limits import OWN_POSTS
from services.bot_manager.domain.model import BotState, EntryKind, Post, PostState
from services.bot_manager.domain.outcomes import Outcome
from services.bot_manager.publishing.leases import Leases
from services.bot_manager.publishing.looking import Looker
from services.bot_manager.publishing.reaper import Reaper
from services.bot_manager.publishing.reconciler import Reconciler
from services.bot_manager.x.port import XCredentials, XPort, XPostDraft, XTimeline
from tests.integration.services.bot_manager.publishing.rig import (
    CLOCK,
    HASTY,
    SECOND,
    Rig,
    eventually,
    now,
)

S, E = PostState, EntryKind


class Reads(XPort):
    """Reading as X does it, or as a test wants it; keeps count."""

    def __init__(self, port: XPort) -> None:
        self._port = port
        self.since: list[datetime] = []
        self.failures: list[Exception] = []
        self.incomplete = False

    async def create_post(self, credentials: XCredentials, draft: XPostDraft) -> Outcome:
        return await self._port.create_post(credentials, draft)

    async def own_posts(
        self, credentials: XCredentials, user_id: str, since: datetime, limit: int = 100
    ) -> XTimeline:
        self.since.append(since)
        if self.failures:
            raise self.failures.pop(0)
        timeline = await self._port.own_posts(credentials, user_id, since, limit)
        return replace(timeline, complete=timeline.complete and not self.incomplete)


class Held(Reads):
    """Answers are held back until the test says so."""

    def __init__(self, port: XPort) -> None:
        super().__init__(port)
        self.go_on = asyncio.Event()

    async def create_post(self, credentials: XCredentials, draft: XPostDraft) -> Outcome:
        outcome = await super().create_post(credentials, draft)
        await self.go_on.wait()
        return outcome


@pytest.fixture
def hasty(rig: Rig) -> Rig:
    rig.settings = HASTY
    return rig


@pytest.mark.parametrize("kind", ["timeout_after", "reset_after", "error_500_after", "no_id"])
async def test_what_x_took_without_saying_so_is_adopted(hasty: Rig, kind: str) -> None:
    """The post is on X once, and the record knows its id."""
    bot = await hasty.bot()
    await hasty.fault(kind)
    post = await hasty.post(bot, "hello & <welcome> https://example.com/a?b=c")
    async with hasty.replica(reconcile=True):
        post = await hasty.until(post, S.PUBLISHED)
    [shown] = await hasty.shown()
    assert post.x_post_ids == (shown["id"],)
    assert await hasty.outcomes(post) == ["UNKNOWN"]
    looks = await looks_of(hasty, post)
    assert looks[-1]["x_post_id"] == shown["id"]
    assert looks[-1]["clean"] is True
    assert (looks[-1]["posts_seen"], looks[-1]["candidates"]) == (1, 1)
    assert (await hasty.kinds(post))[-4:] == [E.RECONCILE_READ, E.ADOPTED, E.PUBLISHED, E.COST_SETTLED]


async def looks_of(rig: Rig, post: Post) -> list[dict[str, Any]]:
    """What its story tells of looks at the account."""
    story = await rig.posts.story(post.id, 0, 1000)
    return [entry.details["reconcile"] for entry in story if entry.kind is E.RECONCILE_READ]


async def test_a_thread_goes_on_with_its_next_part_once_the_lost_one_is_found(hasty: Rig) -> None:
    """Each part is there once, and answers the one before."""
    bot = await hasty.bot()
    await hasty.fault("error_500_after", count=2)
    post = await hasty.post(bot, "one", "two", "three")
    async with hasty.replica(reconcile=True):
        await hasty.until(post, S.PUBLISHED)
    shown = await hasty.shown()
    assert [one["text"] for one in shown] == ["one", "two", "three"]
    assert [one["in_reply_to"] for one in shown] == [None, shown[0]["id"], shown[1]["id"]]
    assert await hasty.outcomes(post) == ["UNKNOWN", "UNKNOWN", "ACCEPTED"]


async def test_a_post_that_x_shows_late_is_adopted_when_it_does(hasty: Rig) -> None:
    """What is hidden for less than the settle window is found within it, and not sent again."""
    bot = await hasty.bot(again=True)
    await hasty.fault("hidden_for_seconds", seconds=0.5)
    await hasty.fault("no_id")
    post = await hasty.post(bot)
    async with hasty.replica(reconcile=True):
        await hasty.until(post, S.PUBLISHED)
    assert len(await hasty.shown()) == 1
    assert await hasty.outcomes(post) == ["UNKNOWN"]
    assert len(await looks_of(hasty, post)) > 1


@pytest.mark.parametrize("kind", ["html_502", "error_500_before", "reset_before", "timeout_before"])
async def test_what_x_never_took_goes_out_again_where_policy_allows(hasty: Rig, kind: str) -> None:
    """Only after clean reads over the whole window."""
    bot = await hasty.bot(again=True)
    await hasty.fault(kind)
    post = await hasty.post(bot)
    async with hasty.replica(reconcile=True):
        await hasty.until(post, S.PUBLISHED)
    assert len(await hasty.shown()) == 1
    assert await hasty.outcomes(post) == ["UNKNOWN", "ACCEPTED"]
    looks = await looks_of(hasty, post)
    assert len(looks) >= 2
    assert all(look["clean"] for look in looks)
    assert [look["number"] for look in looks] == list(range(1, len(looks) + 1))
    story = await hasty.posts.story(post.id, 0, 1000)
    last = max(entry.time for entry in story if entry.kind is E.RECONCILE_READ)
    assert last >= datetime.fromisoformat(looks[-1]["settle_time"])


async def test_without_such_a_policy_a_person_is_asked(hasty: Rig) -> None:
    """Failure and story say what to do, and nothing is read any more."""
    bot = await hasty.bot()
    await hasty.fault("html_502")
    post = await hasty.post(bot)
    x = Reads(hasty.port())
    async with hasty.replica(reconcile=True, x=x):
        asked = await eventually(lambda: _waits_for_a_person(hasty, post))
    assert asked.state is S.UNKNOWN
    assert asked.failure.reason == "X_OUTCOME_UNKNOWN"
    assert "ResolvePost" in asked.failure.message
    looks = await looks_of(hasty, post)
    assert "next_time" not in looks[-1]
    assert all("next_time" in look for look in looks[:-1])
    assert len(x.since) == len(looks)
    assert await hasty.shown() == []


async def test_a_duplicate_after_a_lost_call_is_looked_for_and_not_failed(hasty: Rig) -> None:
    """X shows the first try only after the second was refused: it is that one."""
    bot = await hasty.bot(again=True)
    await hasty.fault("hidden_for_seconds", seconds=600)
    await hasty.fault("no_id")
    post = await hasty.post(bot)
    async with hasty.replica(reconcile=True):
        await hasty.until_attempted(post, "UNKNOWN", "DUPLICATE")
        await hasty.heal()
        post = await hasty.until(post, S.PUBLISHED)
    [shown] = await hasty.shown()
    assert post.x_post_ids == (shown["id"],)
    assert await hasty.outcomes(post) == ["UNKNOWN", "DUPLICATE"]


async def test_a_duplicate_that_x_never_shows_is_a_persons_to_settle(hasty: Rig) -> None:
    """Sending it again would be refused for ever."""
    bot = await hasty.bot(again=True)
    await hasty.fault("html_502")
    await hasty.fault("duplicate")
    post = await hasty.post(bot)
    async with hasty.replica(reconcile=True):
        asked = await eventually(lambda: _waits_for_a_person(hasty, post))
    assert "already" in asked.failure.message
    assert await hasty.outcomes(post) == ["UNKNOWN", "DUPLICATE"]


async def test_looks_that_fail_count_for_nothing(hasty: Rig) -> None:
    """While X cannot be read, or not fully, nothing is sent again, however much time goes by."""
    bot = await hasty.bot(again=True)
    await hasty.fault("html_502")
    post = await hasty.post(bot)
    async with hasty.replica(name="sender"):
        await hasty.until_attempted(post, "UNKNOWN")
    async with TaskSet() as tasks:
        x = Reads(hasty.port())
        clock = Later()
        reconciler = hasty.reconciler(x, Leases(hasty.secrets, tasks, CLOCK), clock=clock)
        x.failures = [
            Unavailable("X_UNAVAILABLE", "away"),
            ResourceExhausted("X_RATE_LIMITED", "X's rate limit is used up", retry_after=timedelta(hours=3)),
        ]
        await eventually(lambda: _looked(hasty, reconciler, clock, post, 1))
        await eventually(lambda: _looked(hasty, reconciler, clock, post, 2))
        found = await hasty.posts.get(post.id)
        assert found.due_time is not None
        assert found.due_time - clock.now() > timedelta(hours=2)
        x.incomplete = True
        clock.ahead += timedelta(days=1)
        await eventually(lambda: _looked(hasty, reconciler, clock, post, 3))
        assert (await hasty.posts.get(post.id)).state is S.UNKNOWN
        x.incomplete = False
        clock.ahead += timedelta(days=1)
        await eventually(lambda: _looked(hasty, reconciler, clock, post, 4))
        assert (await hasty.posts.get(post.id)).state is S.UNKNOWN
        await eventually(lambda: _goes_again(hasty, reconciler, clock, post))
    looks = await looks_of(hasty, post)
    assert [look.get("clean", False) for look in looks[:4]] == [False, False, False, True]
    assert [bool(look.get("failure")) for look in looks[:4]] == [True, True, True, False]
    assert all(look["clean"] for look in looks[3:])


async def test_what_is_sent_again_too_late_is_missed(hasty: Rig) -> None:
    """The latest time outranks the policy."""
    bot = await hasty.bot(again=True)
    await hasty.fault("html_502")
    post = await hasty.post(bot)
    async with hasty.replica():
        await hasty.until(post, S.UNKNOWN)
    async with TaskSet() as tasks:
        clock = Later()
        reconciler = hasty.reconciler(hasty.port(), Leases(hasty.secrets, tasks, CLOCK), clock=clock)
        await eventually(lambda: _goes_again(hasty, reconciler, clock, post))
    assert await hasty.ledger.claim_due("claimer", clock.now(), SECOND, 10) == []
    await Reaper(hasty.ledger, lambda: None, clock).reap()
    post = await hasty.posts.get(post.id)
    assert post.state is S.MISSED
    assert post.failure is not None
    assert post.failure.reason == "DEADLINE_MISSED"
    assert await hasty.shown() == []


async def test_two_posts_with_the_same_text_never_share_one_on_x(hasty: Rig) -> None:
    """Both of unknown outcome, one on X: one adopts it, the other is settled for itself, and X holds each once."""
    bot = await hasty.bot()
    await hasty.fault("no_id")
    first = await hasty.post(bot, "twins")
    async with hasty.replica():
        await hasty.until(first, S.UNKNOWN)
        await hasty.fault("html_502")
        second = await hasty.post(bot, "twins")
        await hasty.until(second, S.UNKNOWN)
    async with hasty.replica(reconcile=True):
        await hasty.until(first, S.PUBLISHED)
        asked = await eventually(lambda: _waits_for_a_person(hasty, second))
    assert asked.x_post_ids == ()
    assert len(await hasty.shown()) == 1


async def test_nothing_is_adopted_while_the_same_text_is_being_sent(hasty: Rig) -> None:
    """The post on X may be that of the call in flight, which will name it."""
    hasty.settings = replace(HASTY, request_timeout=SECOND * 20, lease=SECOND * 60)
    bot = await hasty.bot()
    await hasty.fault("html_502")
    lost = await hasty.post(bot, "twins")
    x = Held(hasty.port())
    x.go_on.set()
    async with hasty.replica(x=x), TaskSet() as tasks:
        await hasty.until(lost, S.UNKNOWN)
        x.go_on.clear()
        sent = await hasty.post(bot, "twins")
        await eventually(hasty.shown)
        clock = Later()
        clock.ahead = SECOND * 30
        reconciler = hasty.reconciler(hasty.port(), Leases(hasty.secrets, tasks, CLOCK), clock=clock)
        await reconciler.reconcile()
        assert (await hasty.posts.get(sent.id)).state is S.PUBLISHING
        x.go_on.set()
        await hasty.until(sent, S.PUBLISHED)
    [look] = await looks_of(hasty, lost)
    assert look["candidates"] == 1
    assert "same content" in look["failure"]
    assert (await hasty.posts.get(lost.id)).state is S.UNKNOWN


async def test_replicas_share_the_reading(hasty: Rig) -> None:
    """Two processes cost no more reads than one, and one read serves all posts of a bot."""
    bot = await hasty.bot()
    await hasty.fault("no_id", count=20)
    posts = [await hasty.post(bot, f"text {number}") for number in range(20)]
    async with hasty.replica():
        for post in posts:
            await hasty.until(post, S.UNKNOWN)
    async with TaskSet() as tasks:
        clock = Later()
        clock.ahead = timedelta(hours=1)
        readers = [Reads(hasty.port()) for _ in range(2)]
        both = [
            hasty.reconciler(x, Leases(hasty.secrets, tasks, CLOCK), f"worker-{number}", clock=clock)
            for number, x in enumerate(readers)
        ]
        for reconciler in both:
            tasks.spawn(reconciler.reconcile(), name="reconcile")
        for post in posts:
            await hasty.until(post, S.PUBLISHED)
    assert sum(len(x.since) for x in readers) == 1
    assert Counter(one["text"] for one in await hasty.shown()) == Counter(f"text {n}" for n in range(20))


@pytest.mark.parametrize(
    ("event", "looked_at"),
    [(BotEvent.PAUSE, False), (BotEvent.REFUSE_CREDENTIALS, False), (BotEvent.SUSPEND, True)],
)
async def test_which_bots_are_looked_at(hasty: Rig, event: BotEvent, looked_at: bool) -> None:
    """A kill switch keeps its promise; a suspended account may still tell what is on it."""
    bot = await hasty.bot()
    await hasty.fault("no_id")
    post = await hasty.post(bot)
    async with hasty.replica():
        await hasty.until(post, S.UNKNOWN)
    state = (await hasty.bots.apply(bot.id, event, now(), "", "")).state
    assert state is not BotState.ACTIVE
    async with TaskSet() as tasks:
        clock = Later()
        clock.ahead = timedelta(hours=1)
        await hasty.reconciler(hasty.port(), Leases(hasty.secrets, tasks, CLOCK), clock=clock).reconcile()
    assert (await hasty.posts.get(post.id)).state is (S.PUBLISHED if looked_at else S.UNKNOWN)


@pytest.mark.parametrize("skew", [timedelta(minutes=-5), timedelta(minutes=5)])
async def test_a_replica_whose_clock_is_wrong_does_not_shorten_the_window(rig: Rig, skew: timedelta) -> None:
    """The window is measured by one clock, the database's."""
    rig.settings = replace(HASTY, settle_window=timedelta(minutes=2))
    bot = await rig.bot(again=True)
    await rig.fault("html_502")
    post = await rig.post(bot)
    async with rig.replica():
        await rig.until(post, S.UNKNOWN)
    async with TaskSet() as tasks:
        clock = Later()
        reconciler = rig.reconciler(rig.port(), Leases(rig.secrets, tasks, CLOCK), clock=clock)
        for _ in range(6):
            clock.ahead += timedelta(hours=1)
            await reconciler.reconcile()
            clock.ahead += skew
            await reconciler.reconcile()
    assert len(await looks_of(rig, post)) >= 6
    assert (await rig.posts.get(post.id)).state is S.UNKNOWN


async def test_an_account_whose_id_is_not_known_yet_is_asked_for_it(hasty: Rig) -> None:
    """Credentials may be stored without being verified."""
    bot = await hasty.bot()
    bot = await hasty.bots.change(bot.id, lambda known: replace(known, x_user_id=""), now())
    await hasty.fault("no_id")
    post = await hasty.post(bot)
    async with hasty.replica(reconcile=True):
        await hasty.until(post, S.PUBLISHED)
    assert len(await hasty.shown()) == 1


async def test_each_read_is_counted(hasty: Rig) -> None:
    """X charges for each post that it shows."""
    counted: list[tuple[str, str, int]] = []

    bot = await hasty.bot()
    await hasty.fault("no_id", count=2)
    posts = [await hasty.post(bot, text) for text in ("one", "two")]
    async with hasty.replica():
        for post in posts:
            await hasty.until(post, S.UNKNOWN)
    async with TaskSet() as tasks:
        leases = Leases(hasty.secrets, tasks, CLOCK)
        look = await Looker(
            hasty.port(), leases, lambda: HASTY, CLOCK, lambda *call: counted.append(call)
        ).look(bot, now() - SECOND * 60, now())
    assert look.clean
    assert counted == [(bot.id, OWN_POSTS, 2)]


class Later(SystemClock):
    """A clock that is ahead."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


async def _looked(rig: Rig, reconciler: Reconciler, clock: Later, post: Post, times: int) -> bool:
    """One round of looking; whether the story tells of so many looks."""
    await reconciler.reconcile()
    return len(await looks_of(rig, post)) >= times


async def _goes_again(rig: Rig, reconciler: Reconciler, clock: Later, post: Post) -> bool:
    """A further look, a day later; whether the post is to be sent again."""
    clock.ahead += timedelta(days=1)
    await reconciler.reconcile()
    return (await rig.posts.get(post.id)).state is S.SCHEDULED


async def _waits_for_a_person(rig: Rig, post: Post) -> Post | None:
    found = await rig.posts.get(post.id)
    return found if found.state is S.UNKNOWN and found.due_time is None else None
