"""Limits, budgets and switches on a real PostgreSQL: what several replicas set aside together, and what becomes of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from mesh.database import Database
from mesh.ids import new_id
from services.bot_manager.domain.limits import OWN_POSTS, POST
from services.bot_manager.domain.model import (
    Answer,
    Attempt,
    AttemptOutcome,
    Bot,
    BotState,
    EntryKind,
    Post,
    PostState,
)
from services.bot_manager.domain.money import App, AppState, next_day
from services.bot_manager.domain.reserving import PROBE, Terms
from services.bot_manager.domain.retry import Hold, Scope
from services.bot_manager.money.counting import Counter
from services.bot_manager.store.apps import PostgresApps
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.ports import Finish, Intent, Refusal, Wait
from services.bot_manager.store.posts import PostgresPosts
from services.bot_manager.store.quota import PostgresQuota
from services.bot_manager.store.tables import attempts
from services.bot_manager.store.tables.money import breakers, rate_limits, spend
from tests.fakes.clock import ManualClock

from .conftest import NOW, AddBot, AddPost

LEASE = timedelta(seconds=30)
PRICE = 15_000
OUTCOMES = {
    AttemptOutcome.NOT_SENT: {"next_time": NOW},
    AttemptOutcome.REJECTED: {},
    AttemptOutcome.DEFERRED: {"next_time": NOW},
}


class Till:
    """Replicas over one database, as far as this matters."""

    def __init__(self, database: Database, bots: PostgresBots, add_post: AddPost) -> None:
        self.database = database
        self.bots = bots
        self.posts = PostgresPosts(database, "test-1")
        self.apps = PostgresApps(database, ManualClock(NOW))
        self.ledger = PostgresLedger(database, "test-1")
        self._add_post = add_post

    async def app(self, **fields: Any) -> App:
        return (await self.apps.create(App(new_id(), "ours", NOW, NOW, **fields), None)).app

    async def bot(self, handle: str = "acme", **fields: Any) -> Bot:
        return await self.bots.create(Bot(new_id(), handle, BotState.ACTIVE, NOW, NOW, **fields), None)

    async def intents(self, bots: Sequence[Bot], count: int, text: str = "hello") -> list[Intent]:
        """That many posts, claimed and taken."""
        made = [(await self._add_post(bots[number % len(bots)], text)).id for number in range(count)]
        claims = await self.ledger.claim_due("claimer", NOW, LEASE, 1000)
        assert {claim.post_id for claim in claims} == set(made)
        taken = await self.ledger.take(claims, "worker", NOW, LEASE)
        return [Intent(one.post.id, 0, one.post.claim_fence, "hash") for one in taken]

    async def begin(self, intents: Sequence[Intent], now: datetime = NOW) -> list[Any]:
        return await self.ledger.begin_attempts(intents, "worker", now, LEASE)

    async def attempt(self, bot: Bot, text: str = "hello") -> Attempt:
        [attempt] = await self.begin(await self.intents([bot], 1, text))
        assert isinstance(attempt, Attempt), attempt
        return attempt

    async def finish(
        self, attempt: Attempt, outcome: AttemptOutcome, now: datetime = NOW, **more: Any
    ) -> Post | None:
        answer = Answer(
            outcome,
            x_post_id=more.pop("x_post_id", str(int(attempt.id.replace("-", "")[:15], 16)))
            if outcome is AttemptOutcome.ACCEPTED
            else "",
            rate_limits=more.pop("rate_limits", {}),
        )
        [post] = await self.ledger.finish_attempts([Finish(attempt, answer, **more)], now, LEASE)
        return post

    async def sums(self, owner_id: str) -> tuple[int, int, int]:
        """Spent, reserved, calls of today."""
        query = select(spend.c.spent_usd_micros, spend.c.reserved_usd_micros, spend.c.calls)
        async with self.database.read() as connection:
            row = (await connection.execute(query.where(spend.c.owner_id == owner_id))).one_or_none()
        return (0, 0, 0) if row is None else tuple(row)  # type: ignore[return-value]

    async def used(self, owner_id: str, operation: str = POST) -> int:
        """Calls counted in the owner's first window."""
        query = select(rate_limits.c.used).where(
            rate_limits.c.owner_id == owner_id, rate_limits.c.operation == operation
        )
        async with self.database.read() as connection:
            return int((await connection.execute(query)).scalars().first() or 0)

    async def details(self, post_id: str, kind: EntryKind) -> list[dict[str, Any]]:
        story = await self.posts.story(post_id, 0, 100)
        return [dict(entry.details)["cost"] for entry in story if entry.kind is kind]


@pytest.fixture
def till(database: Database, bots: PostgresBots, add_post: AddPost) -> Till:
    return Till(database, bots, add_post)


async def test_replicas_never_set_aside_more_calls_than_the_limits_allow(till: Till) -> None:
    """X punishes an app that does not keep its limits, and a limit of an app is that of all replicas together."""
    app = await till.app(limits={"posts_per_day": 37})
    owners = [await till.bot(f"bot{number}", app_id=app.id) for number in range(3)]
    intents = await till.intents(owners, 60)
    replicas = [PostgresLedger(till.database, f"test-{number}") for number in range(3)]

    async def work(number: int) -> list[Any]:
        found: list[Any] = []
        for start in range(number * 4, 60, 12):
            batch = intents[start : start + 4]
            found += await replicas[number].begin_attempts(batch, f"worker-{number}", NOW, LEASE)
        return found

    answers = [one for group in await asyncio.gather(*map(work, range(3))) for one in group]
    assert len(answers) == 60
    assert sum(isinstance(one, Attempt) for one in answers) == 37
    waits = [one for one in answers if isinstance(one, Wait)]
    assert {(one.reason, one.operation, one.until) for one in waits} == {
        ("X_RATE_LIMITED", POST, NOW + timedelta(days=1))
    }
    assert await till.sums(app.id) == (0, 37 * PRICE, 37)


async def test_replicas_never_set_aside_more_money_than_a_budget_allows(till: Till) -> None:
    """Two that each see room for the last post would both send it."""
    app = await till.app(budget={"daily_usd_micros": str(10 * PRICE)})
    owners = [await till.bot(f"bot{number}", app_id=app.id) for number in range(2)]
    intents = await till.intents(owners, 24)
    replicas = [PostgresLedger(till.database, f"test-{number}") for number in range(2)]
    answers = await asyncio.gather(
        *(replicas[n % 2].begin_attempts([one], "worker", NOW, LEASE) for n, one in enumerate(intents))
    )
    found = [one for [one] in answers]
    assert sum(isinstance(one, Attempt) for one in found) == 10
    refused = {(one.reason, one.until) for one in found if isinstance(one, Wait)}
    assert refused == {("BUDGET_EXCEEDED", next_day(NOW))}
    assert await till.sums(app.id) == (0, 10 * PRICE, 10)


async def test_what_x_took_is_booked_and_what_it_did_not_take_is_given_back(till: Till) -> None:
    """X bills what it takes. The bot's sums and the app's are settled alike, and the story says so."""
    app = await till.app()
    bot = await till.bot(app_id=app.id)
    post = await till.finish(await till.attempt(bot), AttemptOutcome.ACCEPTED)
    assert post is not None
    assert (post.state, post.cost_usd_micros) == (PostState.PUBLISHED, PRICE)
    assert await till.sums(bot.id) == await till.sums(app.id) == (PRICE, 0, 1)
    [booked] = await till.details(post.id, EntryKind.COST_SETTLED)
    assert booked == {
        "amount_usd_micros": str(PRICE),
        "today_usd_micros": str(PRICE),
        "daily_budget_usd_micros": "0",
    }
    for outcome, more in OUTCOMES.items():
        attempt = await till.attempt(bot)
        await till.finish(attempt, outcome, **more)
        assert (await till.sums(bot.id))[:2] == (PRICE, 0)
        await till.posts.delete(attempt.post_id, lambda post: None, NOW)
    assert await till.sums(bot.id) == (PRICE, 0, 3)  # what never reached X was no call
    with_link = await till.finish(await till.attempt(bot, "see https://example.com"), AttemptOutcome.ACCEPTED)
    assert with_link is not None
    assert with_link.cost_usd_micros == 200_000


@pytest.mark.parametrize(("settled", "spent"), [("adopt", PRICE), ("send_again", 0), ("late answer", PRICE)])
async def test_what_x_may_have_taken_stays_set_aside_until_that_is_known(
    till: Till, settled: str, spent: int
) -> None:
    """Given back too early it would be spent twice; never given back it would eat the budget."""
    bot = await till.bot(budget={"daily_usd_micros": str(PRICE)})
    attempt = await till.attempt(bot)
    post = await till.finish(attempt, AttemptOutcome.UNKNOWN, next_time=NOW)
    assert post is not None
    assert await till.sums(bot.id) == (0, PRICE, 1)
    ways: dict[str, Callable[[], Awaitable[Any]]] = {
        "adopt": lambda: till.ledger.adopt(post.id, post.claim_fence, 0, "77", NOW, NOW),
        "send_again": lambda: till.ledger.send_again(post.id, post.claim_fence, NOW),
        "late answer": lambda: till.finish(attempt, AttemptOutcome.ACCEPTED),
    }
    after = await ways[settled]()
    assert (await till.sums(bot.id))[:2] == (spent, 0)
    assert len(await till.details(post.id, EntryKind.COST_SETTLED)) == 1
    assert after.cost_usd_micros == spent
    if settled == "send_again":
        late = await till.finish(attempt, AttemptOutcome.ACCEPTED)
        assert late is not None
        assert (late.state, late.cost_usd_micros) == (PostState.PUBLISHED, PRICE)
        assert (await till.sums(bot.id))[:2] == (PRICE, 0)


async def test_a_lost_worker_leaves_its_money_set_aside(till: Till) -> None:
    """Nobody knows what became of its call; the reaper does not either."""
    bot = await till.bot()
    attempt = await till.attempt(bot)
    await till.ledger.reap_leases(NOW + 2 * LEASE, 10)
    assert await till.sums(bot.id) == (0, PRICE, 1)
    post = await till.posts.get(attempt.post_id)
    await till.ledger.adopt(post.id, post.claim_fence, 0, "78", NOW, NOW)
    assert await till.sums(bot.id) == (PRICE, 0, 1)


async def test_once_a_paused_app_is_committed_no_attempt_begins(till: Till) -> None:
    """The kill switch of all its bots; what was claimed before is put off, and nothing is claimed after."""
    app = await till.app()
    bot = await till.bot(app_id=app.id)
    intents = await till.intents([bot], 4)
    assert isinstance((await till.begin(intents[:1]))[0], Attempt)

    async def pause(stored: App) -> App:
        return replace(stored, state=AppState.PAUSED, version=stored.version + 1)

    await till.apps.change(app.id, pause)
    assert await till.begin(intents[1:]) == [Refusal.APP_PAUSED] * 3
    assert await till.sums(app.id) == (0, PRICE, 1)
    await till._add_post(bot, "later")
    assert await till.ledger.claim_due("claimer", NOW, LEASE, 10) == []
    assert await till.ledger.oldest_overdue(NOW) is None
    late = NOW + timedelta(hours=2)
    missed = await till.ledger.miss_late(late, 10)
    assert len(missed) == 1
    post = await till.posts.get(missed[0])
    assert post.failure is not None
    assert (post.failure.reason, "its app is paused" in post.failure.message) == ("DEADLINE_MISSED", True)


async def test_pausing_an_app_waits_for_intents_that_are_being_written(till: Till) -> None:
    """Whoever heard that the app is paused must not see a post begin after it."""
    app = await till.app()
    bot = await till.bot(app_id=app.id)
    intents = await till.intents([bot], 40)
    paused = asyncio.Event()

    async def pause() -> None:
        async def edit(stored: App) -> App:
            return replace(stored, state=AppState.PAUSED, version=stored.version + 1)

        await till.apps.change(app.id, edit)
        paused.set()

    async def work() -> list[tuple[bool, Any]]:
        found = []
        for intent in intents:
            known = paused.is_set()
            [answer] = await till.begin([intent])
            found.append((known, answer))
        return found

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    await pause()
    answers = await working
    assert [one for known, one in answers if known and isinstance(one, Attempt)] == []
    assert answers[-1][1] is Refusal.APP_PAUSED


async def test_used_up_credits_stop_the_app_in_every_replica_and_one_call_tries_again(till: Till) -> None:
    """Other systems ask thousands of times for credits that are not there."""
    app = await till.app()
    owners = [await till.bot(f"bot{number}", app_id=app.id) for number in range(2)]
    first, *others = await till.intents(owners, 8)
    [attempt] = await till.begin([first])
    retry = NOW + timedelta(minutes=15)
    hold = Hold(Scope.APP, retry, "X_CREDITS_DEPLETED", "buy some")
    await till.finish(attempt, AttemptOutcome.DEFERRED, next_time=retry, hold=hold)
    other = PostgresLedger(till.database, "test-2")
    refused = await other.begin_attempts(others[:2], "worker-2", NOW, LEASE)
    assert refused == [Wait(retry, "X_CREDITS_DEPLETED", "buy some")] * 2
    async with till.database.transaction() as connection:
        await connection.execute(breakers.update().values(retry_time=NOW))
    tries = await asyncio.gather(
        *(
            ledger.begin_attempts([one], "worker", NOW, LEASE)
            for ledger, one in zip([till.ledger, other] * 2, others[2:6], strict=True)
        )
    )
    probes = [one for [one] in tries if isinstance(one, Attempt)]
    assert len(probes) == 1
    assert {one.until for [one] in tries if isinstance(one, Wait)} == {NOW + PROBE}
    await till.finish(probes[0], AttemptOutcome.ACCEPTED)
    assert (await till.apps.get(app.id)).breaker is None
    assert isinstance((await other.begin_attempts(others[6:7], "worker-2", NOW, LEASE))[0], Attempt)


async def test_a_probe_that_fails_leaves_the_switch_open_since_when_it_opened(till: Till) -> None:
    """How long it has been open is what people ask first."""
    bot = await till.bot()
    first, second = await till.intents([bot], 2)
    [attempt] = await till.begin([first])
    hold = Hold(Scope.APP, NOW, "X_CREDITS_DEPLETED", "buy some")
    await till.finish(attempt, AttemptOutcome.DEFERRED, next_time=NOW, hold=hold)
    [probe] = await till.begin([second], NOW + timedelta(seconds=1))
    assert probe.charge.probe
    again = replace(hold, until=NOW + timedelta(hours=1))
    await till.finish(probe, AttemptOutcome.DEFERRED, next_time=NOW, hold=again)
    async with till.database.read() as connection:
        row = (await connection.execute(select(breakers))).one()
    assert (row.owner_id, row.open_time, row.retry_time) == (bot.id, NOW, again.until)


async def test_a_refused_limit_closes_the_bots_window_for_every_replica(till: Till) -> None:
    """A replica that did not hear the 429 itself learns of it before it calls."""
    bot = await till.bot()
    first, second, third = await till.intents([bot], 3)
    [attempt] = await till.begin([first])
    until = NOW + timedelta(minutes=7)
    hold = Hold(Scope.BOT, until, "X_RATE_LIMITED", "later")
    await till.finish(attempt, AttemptOutcome.DEFERRED, next_time=until, hold=hold)
    other = PostgresLedger(till.database, "test-2")
    [refused] = await other.begin_attempts([second], "worker-2", NOW, LEASE)
    assert isinstance(refused, Wait)
    assert (refused.until, refused.operation) == (until, POST)
    [later] = await other.begin_attempts([third], "worker-2", NOW + timedelta(seconds=29), LEASE)
    assert isinstance(later, Wait)


async def test_what_x_says_tightens_a_window_and_never_loosens_it(till: Till) -> None:
    """Somebody may use the account beside us; and X's larger figure is not the operator's."""
    till.ledger = PostgresLedger(till.database, "test-1", lambda: Terms(user_posts=5))
    bot = await till.bot()
    reset = str(int((NOW + timedelta(minutes=3)).timestamp()))

    def headers(limit: int, remaining: int) -> dict[str, str]:
        figures = {"limit": str(limit), "remaining": str(remaining), "reset": reset}
        return {f"x-rate-limit-{name}": value for name, value in figures.items()}

    one, two, three = await till.intents([bot], 3)
    [attempt] = await till.begin([one])
    await till.finish(attempt, AttemptOutcome.ACCEPTED, rate_limits=headers(100, 99))
    assert await till.used(bot.id) == 1
    [attempt] = await till.begin([two])
    await till.finish(attempt, AttemptOutcome.ACCEPTED, rate_limits=headers(100, 95))
    assert await till.used(bot.id) == 5
    [refused] = await till.begin([three])
    assert isinstance(refused, Wait)
    assert refused.until == NOW + timedelta(minutes=3)


async def test_a_bots_app_must_exist(till: Till, add_bot: AddBot) -> None:
    """A bot that points to nothing would have no limits at all."""
    with pytest.raises(Exception, match="no such app") as refused:
        await till.bot(app_id=new_id())
    assert refused.value.reason == "APP_NOT_FOUND"  # type: ignore[attr-defined]


async def test_other_calls_are_counted_by_the_second_and_at_the_end(till: Till) -> None:
    """What reads cost counts against the budget of posts, without a round trip for each."""
    app = await till.app(prices={"owned_read_usd_micros": "3"})
    bot = await till.bot(app_id=app.id, budget={"daily_usd_micros": str(PRICE + 100)})
    clock = ManualClock(NOW)
    counter = Counter(PostgresQuota(till.database, Terms, clock), clock)
    running = asyncio.create_task(counter.run())
    counter.count(bot.id, OWN_POSTS, 20)
    counter.count(bot.id, OWN_POSTS, 20)
    assert await till.sums(bot.id) == (0, 0, 0)
    await clock.advance(timedelta(seconds=1))
    async with asyncio.timeout(10):
        while await till.sums(bot.id) != (120, 0, 2):
            await asyncio.sleep(0.01)
    running.cancel()
    counter.count(bot.id, OWN_POSTS, 1)
    await counter.flush()
    assert await till.sums(bot.id) == await till.sums(app.id) == (123, 0, 3)
    assert await till.used(bot.id, OWN_POSTS) == 3
    [refused] = await till.begin(await till.intents([bot], 1))
    assert isinstance(refused, Wait)
    assert refused.reason == "BUDGET_EXCEEDED"


async def test_calls_in_flight_are_bounded_where_the_app_says_so(till: Till) -> None:
    """A place is free again when an outcome is known."""
    app = await till.app(limits={"concurrent_calls": 2})
    bot = await till.bot(app_id=app.id)
    intents = await till.intents([bot], 4)
    found = await till.begin(intents[:3])
    assert [isinstance(one, Attempt) for one in found] == [True, True, False]
    assert isinstance((await till.begin(intents[2:3]))[0], Wait)
    await till.finish(found[0], AttemptOutcome.ACCEPTED)
    assert isinstance((await till.begin(intents[3:]))[0], Attempt)
    async with till.database.read() as connection:
        costs = (await connection.execute(select(attempts.c.settled_usd_micros))).scalars().all()
    assert sorted(costs, key=str) == [PRICE, None, None]
