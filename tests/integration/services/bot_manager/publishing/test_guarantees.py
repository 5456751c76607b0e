"""Exactly once, whoever dies, pauses, repeats or is away at whatever moment."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.clock import SystemClock
from mesh.errors import Unavailable
from mesh.ids import new_id
from mesh.tasks import TaskSet
from services.bot_manager.domain.model import Attempt, Bot, EntryKind, Part, Post, PostState
from services.bot_manager.domain.outcomes import Outcome
from services.bot_manager.publishing.assembly import OverdueCheck
from services.bot_manager.publishing.leases import LeasedCredentials, Leases
from services.bot_manager.publishing.reaper import Reaper
from services.bot_manager.publishing.sender import Sender
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.ports import PUBLISH_SUBJECT, Claim, Finish, Intent, Refusal, Wait
from services.bot_manager.x.port import OAuth1Credentials, XPort, XPostDraft
from tests.integration.services.bot_manager.publishing.rig import (
    CLOCK,
    PATIENT,
    SECOND,
    SETTINGS,
    Rig,
    eventually,
    now,
)

S, E = PostState, EntryKind


class Sending(XPort):
    """A port that does as its parent, and lets the test know when and hold it up."""

    def __init__(self, port: XPort) -> None:
        self._port = port
        self.called = asyncio.Event()
        self.go_on = asyncio.Event()

    async def create_post(self, credentials: OAuth1Credentials, draft: XPostDraft) -> Outcome:
        outcome = await self._port.create_post(credentials, draft)
        self.called.set()
        await self.go_on.wait()
        return outcome


class StalledLeases(Leases):
    """Lends when the test says so."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def get(self, bot_id: str, reason: str, need: timedelta) -> LeasedCredentials:
        self.asked.set()
        await self.go_on.wait()
        return await self._leases.get(bot_id, reason, need)

    def holds(self, bot_id: str, need: timedelta) -> bool:
        return self._leases.holds(bot_id, need)


class JumpingClock(SystemClock):
    """A clock that a test sets forward, as a paused process sees it."""

    def __init__(self) -> None:
        self.jump = timedelta()

    def now(self) -> datetime:
        return super().now() + self.jump

    def monotonic(self) -> float:
        return super().monotonic() + self.jump.total_seconds()


class PausingLedger(PostgresLedger):
    """Sets the clock forward once the intent is committed."""

    clock = JumpingClock()

    async def begin_attempts(
        self, intents: Sequence[Intent], worker: str, now: datetime, lease: timedelta
    ) -> list[Attempt | Refusal]:
        begun = await super().begin_attempts(intents, worker, now, lease)
        self.clock.jump = SETTINGS.lease
        return begun


class ForgetfulLedger(PostgresLedger):
    """Cannot be reached for a while when outcomes are to be written; `committed` ones get lost on their way back."""

    until = datetime.max.replace(tzinfo=UTC)
    committed = False
    refused = 0

    async def finish_attempts(
        self, finishes: Sequence[Finish], now: datetime, lease: timedelta
    ) -> list[Post | None]:
        if now < self.until:
            self.refused += 1
            if self.committed:
                await super().finish_attempts(finishes, now, lease)
            raise Unavailable("DATABASE_UNAVAILABLE", "away")
        return await super().finish_attempts(finishes, now, lease)


class Failing:
    """A check that cannot tell at first; `failures` are how often."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    async def __call__(self, post: Post, bot: Bot, part: Part) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("DATABASE_UNAVAILABLE", "away")


class AbsentLedger(PostgresLedger):
    """Cannot be reached when intents are to be written; `committed` ones get lost on their way back."""

    failures = 1
    committed = False

    async def begin_attempts(
        self, intents: Sequence[Intent], worker: str, now: datetime, lease: timedelta
    ) -> list[Attempt | Refusal | Wait]:
        if not self.failures:
            return await super().begin_attempts(intents, worker, now, lease)
        self.failures -= 1
        if self.committed:
            await super().begin_attempts(intents, worker, now, lease)
        raise Unavailable("DATABASE_UNAVAILABLE", "away")


async def claim(rig: Rig, post: Post) -> Claim:
    (one,) = await rig.ledger.claim_due("claimer", now(), SETTINGS.lease, 10)
    assert one.post_id == post.id
    return one


async def test_a_worker_that_dies_after_the_intent_leaves_an_unknown_post(rig: Rig) -> None:
    """X may have it: the lease's end must never send it again. This is the commonest bug of all."""
    post = await rig.post(await rig.bot())
    x = Sending(rig.port())
    async with TaskSet() as tasks:
        sender = rig.sender(tasks, x)
        sender.ledger.start(tasks)
        tasks.spawn(sender.publish(await claim(rig, post)), name="worker")
        await x.called.wait()
    assert (await rig.posts.get(post.id)).state is S.PUBLISHING
    async with rig.replica("worker-2"):
        post = await rig.until(post, S.UNKNOWN)
        await asyncio.sleep(1)
    assert await rig.outcomes(post) == ["UNKNOWN"]
    assert E.LEASE_EXPIRED in await rig.kinds(post)
    assert len(await rig.shown()) == 1


async def test_a_worker_that_dies_before_the_intent_costs_one_lease(rig: Rig) -> None:
    """X was surely not called, so the post goes out by itself."""
    post = await rig.post(await rig.bot())
    async with TaskSet() as tasks:
        sender = rig.sender(tasks, rig.port())
        stalled = StalledLeases(sender.leases)
        sender = rig.sender(tasks, sender.x, leases=stalled)
        sender.ledger.start(tasks)
        tasks.spawn(sender.publish(await claim(rig, post)), name="worker")
        await stalled.asked.wait()
    async with rig.replica("worker-2"):
        await rig.until(post, S.PUBLISHED)
    assert await rig.outcomes(post) == ["ACCEPTED"]
    assert len(await rig.shown()) == 1


async def test_a_worker_that_wakes_with_an_old_claim_is_refused(rig: Rig) -> None:
    """A process may sleep for minutes between any two lines; the fence is what it shows when it wakes."""
    post = await rig.post(await rig.bot())
    async with TaskSet() as tasks:
        sender = rig.sender(tasks, rig.port())
        stalled = StalledLeases(sender.leases)
        sender = rig.sender(tasks, sender.x, leases=stalled)
        sender.ledger.start(tasks)
        late = tasks.spawn(sender.publish(await claim(rig, post)), name="worker")
        await stalled.asked.wait()
        async with rig.replica("worker-2"):
            await rig.until(post, S.PUBLISHED)
            stalled.go_on.set()
            await late
    assert await rig.outcomes(post) == ["ACCEPTED"]
    assert len(await rig.shown()) == 1


async def test_a_worker_that_sleeps_after_the_intent_does_not_call_x(rig: Rig) -> None:
    """With too little of the lease left, X's answer would come after somebody else took over."""
    post = await rig.post(await rig.bot())
    ledger = PausingLedger(rig.database, "test-1")
    async with TaskSet() as tasks:
        sender = rig.sender(tasks, rig.port(), ledger=ledger, clock=ledger.clock)
        sender.ledger.start(tasks)
        await sender.publish(await claim(rig, post))
    assert await rig.outcomes(post) == ["NOT_SENT"]
    assert (await rig.posts.get(post.id)).state is S.SCHEDULED
    assert await rig.shown() == []


@pytest.mark.parametrize("committed", [False, True])
async def test_an_outcome_is_written_once_the_database_is_back(rig: Rig, committed: bool) -> None:
    """What X said must not be lost for an outage of a second, nor if only the acknowledgement was."""
    post = await rig.post(await rig.bot())
    ledger = ForgetfulLedger(rig.database, "test-1")
    ledger.until, ledger.committed = now() + SECOND, committed
    async with TaskSet() as tasks:
        sender = rig.sender(tasks, rig.port(), ledger=ledger)
        sender.ledger.start(tasks)
        await sender.publish(await claim(rig, post))
    assert ledger.refused > 0
    assert (await rig.posts.get(post.id)).state is S.PUBLISHED
    assert await rig.outcomes(post) == ["ACCEPTED"]
    assert len(await rig.shown()) == 1


async def test_an_answer_that_can_be_written_only_after_the_lease_still_settles_the_post(rig: Rig) -> None:
    """The post is UNKNOWN by then; what X really said is better than any reading."""
    post = await rig.post(await rig.bot())
    ledger = ForgetfulLedger(rig.database, "test-1")
    async with TaskSet() as tasks:
        sender = rig.sender(tasks, rig.port(), ledger=ledger)
        sender.ledger.start(tasks)
        late = tasks.spawn(sender.publish(await claim(rig, post)), name="worker")
        await eventually(lambda: _true(ledger.refused))
        await Reaper(rig.ledger, lambda: None, _ahead(SETTINGS.lease)).reap()
        assert (await rig.posts.get(post.id)).state is S.UNKNOWN
        ledger.until = now()
        await late
    assert (await rig.posts.get(post.id)).state is S.PUBLISHED
    assert len(await rig.shown()) == 1


async def test_an_action_that_comes_again_is_forgotten(rig: Rig) -> None:
    """JetStream delivers at least once; a post that has moved on is not this action's any more."""
    post = await rig.post(await rig.bot())
    async with rig.replica():
        post = await rig.until(post, S.PUBLISHED)
        for fence in range(1, post.claim_fence + 2):
            payload = Claim.to_payload([Claim(post.id, post.bot_id, fence)])
            await rig.messaging.publish(PUBLISH_SUBJECT, payload, message_id=new_id())
        other = await rig.until(await rig.post(await rig.bot("other"), "other"), S.PUBLISHED)
    assert other.claim_fence
    assert await rig.outcomes(post) == ["ACCEPTED"]
    assert len(await rig.shown()) == 2


async def test_an_action_that_is_none_does_not_stop_the_worker(rig: Rig) -> None:
    """One poisoned message must not be delivered for ever, nor hold up the rest."""
    async with rig.replica():
        for payload in (b"", b"\xff", b"a b", b"a b c", b"a b 1 2"):
            await rig.messaging.publish(PUBLISH_SUBJECT, payload, message_id=new_id())
        await rig.until(await rig.post(await rig.bot()), S.PUBLISHED)


async def test_a_stopping_worker_finishes_the_call_in_hand(rig: Rig) -> None:
    """A restart must not turn every post in flight into one of unknown outcome."""
    post = await rig.post(await rig.bot())
    await rig.fault("slow", seconds=0.7)
    async with rig.replica():
        await rig.until(post, S.PUBLISHING)
    assert (await rig.posts.get(post.id)).state is S.PUBLISHED


async def test_two_replicas_publish_three_hundred_due_posts_once_each(rig: Rig) -> None:
    """Any number of processes may do this side by side."""
    rig.settings = PATIENT
    bots = [await rig.bot(f"bot{number}") for number in range(6)]
    posts = [await rig.post(bots[number % 6], f"post {number}") for number in range(300)]
    async with rig.replica("worker-1"), rig.replica("worker-2"):
        await eventually(lambda: _all_published(rig, posts), 60)
    texts = Counter(one["text"] for one in await rig.shown())
    assert texts == Counter(f"post {number}" for number in range(300))
    assert len(rig.secrets.asked) <= 2 * len(bots)


async def test_killed_at_any_moment_no_post_is_there_twice_and_none_is_lost(rig: Rig) -> None:
    """Wherever a worker stops, what is written down is enough to go on from."""
    bot = await rig.bot()
    posts = [await rig.post(bot, f"post {number}") for number in range(60)]
    chance = random.Random(11)  # noqa: S311 - repeatable chance
    claims = {one.post_id: one for one in await rig.ledger.claim_due("claimer", now(), SETTINGS.lease, 100)}
    x = rig.port()

    async def killed(post: Post) -> None:
        async with TaskSet() as tasks:
            sender: Sender = rig.sender(tasks, x)
            sender.ledger.start(tasks)
            tasks.spawn(sender.publish(claims[post.id]), name="worker")
            await asyncio.sleep(chance.uniform(0, 0.2))

    for start in range(0, len(posts), 6):
        await asyncio.gather(*(killed(post) for post in posts[start : start + 6]))
    async with rig.replica("worker-2"):
        await eventually(lambda: _all_settled(rig, posts), 30)
    shown = Counter(str(one["text"]) for one in await rig.shown())
    states: Counter[PostState] = Counter()
    for post in posts:
        found = await rig.posts.get(post.id)
        states[found.state] += 1
        seen = shown[post.parts[0].text]
        assert seen == 1 if found.state is S.PUBLISHED else seen <= 1
    assert set(states) <= {S.PUBLISHED, S.UNKNOWN}


async def test_health_says_so_when_due_posts_do_not_go_out(rig: Rig) -> None:
    """A scheduler that is dead behind a healthy door is what users complain of most."""
    bot = await rig.bot()
    check = OverdueCheck(rig.ledger, lambda: SETTINGS, CLOCK)
    await rig.post(bot, due=now() - 30 * SECOND)
    await check()
    await rig.post(bot, due=now() - 90 * SECOND)
    with pytest.raises(Unavailable) as error:
        await check()
    assert int(error.value.metadata["oldestOverdueSeconds"]) >= 90


async def test_the_kill_switch_keeps_due_posts_and_their_stories_say_so(rig: Rig) -> None:
    """Nothing is claimed while it is off; health is calm; switched on, all go out."""
    rig.settings = replace(SETTINGS, enabled=False)
    bot = await rig.bot()
    post = await rig.post(bot, due=now() - 90 * SECOND)
    check = OverdueCheck(rig.ledger, lambda: rig.settings, CLOCK)
    async with rig.replica():
        await rig.until_told(post, E.DEFERRED)
        later = await rig.post(bot, "later")
        await rig.until_told(later, E.DEFERRED)
        await check()
        assert check.facts() == {"oldestOverdueSeconds": check.facts()["oldestOverdueSeconds"], "enabled": 0}
        assert check.facts()["oldestOverdueSeconds"] >= 90
        assert (await rig.posts.get(post.id)).state is S.SCHEDULED
        assert (await rig.kinds(post)).count(E.DEFERRED) == 1
        rig.settings = SETTINGS
        await rig.until(post, S.PUBLISHED)
        await rig.until(later, S.PUBLISHED)
    [told] = [one for one in await rig.posts.story(post.id, 0, 100) if one.kind is E.DEFERRED]
    assert "bot_manager.publish.enabled" in told.message


async def test_the_kill_switch_stops_a_worker_right_before_its_intent(rig: Rig) -> None:
    """What was claimed before it was thrown goes back, uncalled and unattempted."""
    post = await rig.post(await rig.bot())
    async with TaskSet() as tasks:
        sender = rig.sender(tasks, rig.port())
        stalled = StalledLeases(sender.leases)
        sender = rig.sender(tasks, sender.x, leases=stalled)
        sender.ledger.start(tasks)
        working = tasks.spawn(sender.publish(await claim(rig, post)), name="worker")
        await stalled.asked.wait()
        rig.settings = replace(SETTINGS, enabled=False)
        stalled.go_on.set()
        await working
    assert (await rig.posts.get(post.id)).state is S.SCHEDULED
    assert await rig.outcomes(post) == []
    assert await rig.shown() == []


def _ahead(time: timedelta) -> SystemClock:
    clock = JumpingClock()
    clock.jump = time
    return clock


async def _true(value: object) -> object:
    return value


async def _all_published(rig: Rig, posts: Sequence[Post]) -> bool:
    return {(await rig.posts.get(post.id)).state for post in posts} == {S.PUBLISHED}


async def _all_settled(rig: Rig, posts: Sequence[Post]) -> bool:
    return {(await rig.posts.get(post.id)).state for post in posts} <= {S.PUBLISHED, S.UNKNOWN}


async def test_a_post_on_which_nobody_could_decide_is_due_again_at_once(rig: Rig) -> None:
    """A check or a database that was away for a moment costs a moment, not the rest of the lease; the story says what was missing."""
    rig.settings = PATIENT
    async with rig.replica(reap=False, checks=(Failing(2),)):
        post = await rig.post(await rig.bot(), "one", "two")
        await rig.until(post, S.PUBLISHED)
    story = await rig.posts.story(post.id, 0, 100)
    told = [entry.details["deferral"]["reason"] for entry in story if entry.kind is E.DEFERRED]
    assert told == ["DATABASE_UNAVAILABLE"] * 2
    async with rig.replica(reap=False, ledger=AbsentLedger(rig.database, "test-1")):
        other = await rig.post(await rig.bot("other"))
        await rig.until(other, S.PUBLISHED)
    assert (await rig.outcomes(post), await rig.outcomes(other)) == (["ACCEPTED"] * 2, ["ACCEPTED"])


async def test_an_intent_whose_commit_was_not_heard_of_is_not_given_back(rig: Rig) -> None:
    """It stands: what was committed may be what X was called for, whatever this worker heard."""
    ledger = AbsentLedger(rig.database, "test-1")
    ledger.committed = True
    async with TaskSet() as tasks:
        sender = rig.sender(tasks, rig.port(), ledger=ledger)
        sender.ledger.start(tasks)
        post = await rig.post(await rig.bot())
        with pytest.raises(Unavailable):
            await sender.publish(await claim(rig, post))
    assert (await rig.posts.get(post.id)).state is S.PUBLISHING
    assert E.DEFERRED not in await rig.kinds(post)
