"""The ledger on a real PostgreSQL: who may do what with a claim, and what happens when a holder disappears."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from mesh.database import Database
from mesh.outbox import outbox
from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.model import (
    Answer,
    Attempt,
    AttemptOutcome,
    BotState,
    EntryKind,
    Failure,
    PartState,
    PostState,
)
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.ports import Claim, ClaimedPost, Finish, Intent, Refusal, Release
from services.bot_manager.store.posts import PostgresPosts
from services.bot_manager.store.tables import attempts

from .conftest import LATENESS, NOW, AddBot, AddPost

LEASE = timedelta(seconds=30)
AFTER_LEASE = NOW + timedelta(seconds=31)
ACCEPTED = Answer(AttemptOutcome.ACCEPTED, 201, x_post_id="1001", latency=timedelta(milliseconds=120))


async def claim(ledger: PostgresLedger) -> Claim:
    [claim] = await ledger.claim_due("claimer", NOW, LEASE, 10)
    return claim


async def held(ledger: PostgresLedger) -> ClaimedPost:
    [taken] = await ledger.take([await claim(ledger)], "worker", NOW, LEASE)
    return taken


async def begin(ledger: PostgresLedger, taken: ClaimedPost, part: int = 0) -> Attempt:
    intent = Intent(taken.post.id, part, taken.post.claim_fence, "hash")
    [attempt] = await ledger.begin_attempts([intent], "worker", NOW, LEASE)
    assert isinstance(attempt, Attempt)
    return attempt


async def kinds(posts: PostgresPosts, post_id: str) -> list[EntryKind]:
    story = await posts.story(post_id, 0, 100)
    assert [entry.sequence for entry in story] == list(range(1, len(story) + 1))
    return [entry.kind for entry in story]


async def test_each_due_post_is_claimed_once_however_many_claim(
    ledger: PostgresLedger, database: Database, add_bot: AddBot, add_post: AddPost
) -> None:
    """Two claims of one post would be two posts on X."""
    bot = await add_bot()
    made = {(await add_post(bot)).id for _ in range(500)}
    claims: list[Claim] = []

    async def claimer(name: str) -> None:
        while found := await ledger.claim_due(name, NOW, LEASE, 20):
            claims.extend(found)

    await asyncio.gather(*(claimer(f"claimer-{n}") for n in range(4)))
    assert Counter(one.post_id for one in claims) == Counter(made)
    async with database.read() as connection:
        payloads = (await connection.execute(select(outbox.c.payload))).scalars().all()
    assert Counter(claim for payload in payloads for claim in Claim.from_payload(payload)) == Counter(claims)


async def test_only_due_posts_of_active_bots_are_claimed(
    ledger: PostgresLedger, add_bot: AddBot, add_post: AddPost
) -> None:
    """A paused bot is silent, a post waits for its time, and one that is too late stays unsent."""
    active, paused = await add_bot(), await add_bot("paused", BotState.PAUSED)
    await add_post(paused)
    await add_post(active, due=NOW + timedelta(seconds=1))
    await add_post(active, due=NOW - LATENESS)
    await add_post(active, due=None)
    due = await add_post(active)
    assert [one.post_id for one in await ledger.claim_due("claimer", NOW, LEASE, 10)] == [due.id]
    assert await ledger.oldest_overdue(NOW) == NOW - LATENESS
    assert await ledger.next_due(NOW) == NOW + timedelta(seconds=1)


async def test_a_post_is_published_and_its_story_told(
    ledger: PostgresLedger, posts: PostgresPosts, add_bot: AddBot, add_post: AddPost
) -> None:
    """The straight way, entry by entry."""
    post = await add_post(await add_bot())
    attempt = await begin(ledger, await held(ledger))
    assert (await posts.get(post.id)).state is PostState.PUBLISHING
    [after] = await ledger.finish_attempts([Finish(attempt, ACCEPTED)], NOW, LEASE)
    assert after is not None
    assert (after.state, after.x_post_ids, after.publish_time) == (PostState.PUBLISHED, ("1001",), NOW)
    assert after == await posts.get(post.id)
    assert await kinds(posts, post.id) == [
        EntryKind.CREATED,
        EntryKind.SCHEDULED,
        EntryKind.DUE,
        EntryKind.CLAIMED,
        EntryKind.COST_RESERVED,
        EntryKind.ATTEMPT_STARTED,
        EntryKind.ATTEMPT_FINISHED,
        EntryKind.PUBLISHED,
        EntryKind.COST_SETTLED,
    ]


async def test_a_thread_goes_on_at_the_first_part_that_is_not_on_x(
    ledger: PostgresLedger, posts: PostgresPosts, add_bot: AddBot, add_post: AddPost
) -> None:
    """Between two parts X is not being called: whoever disappears there leaves nothing in doubt, and nothing is sent twice."""
    post = await add_post(await add_bot(), "one", "two")
    taken = await held(ledger)
    attempt = await begin(ledger, taken)
    [between] = await ledger.finish_attempts([Finish(attempt, ACCEPTED)], NOW, LEASE)
    assert between is not None
    assert between.state is PostState.CLAIMED
    assert await ledger.reap_leases(AFTER_LEASE, 10) == {post.id: PostState.SCHEDULED}
    late = NOW + 2 * LATENESS
    [again] = await ledger.claim_due("claimer", late, LEASE, 10)
    [taken] = await ledger.take([again], "worker", late, LEASE)
    fence = taken.post.claim_fence
    refused = await ledger.begin_attempts([Intent(post.id, 0, fence, "hash")], "worker", late, LEASE)
    assert refused == [Refusal.STALE]
    [second] = await ledger.begin_attempts([Intent(post.id, 1, fence, "hash")], "worker", late, LEASE)
    assert isinstance(second, Attempt)
    answer = Answer(AttemptOutcome.ACCEPTED, 201, x_post_id="1002")
    [done] = await ledger.finish_attempts([Finish(second, answer)], late, LEASE)
    assert done is not None
    assert (done.state, done.x_post_ids) == (PostState.PUBLISHED, ("1001", "1002"))


async def test_an_old_claim_is_refused(
    ledger: PostgresLedger, posts: PostgresPosts, add_bot: AddBot, add_post: AddPost
) -> None:
    """A worker that slept through its lease, and a second delivery of the same action, must not send."""
    post = await add_post(await add_bot())
    first = await claim(ledger)
    [taken] = await ledger.take([first], "worker", NOW, LEASE)
    assert await ledger.take([first], "second delivery", NOW, LEASE) == []
    stale = Intent(post.id, 0, first.fence, "hash")
    assert await ledger.begin_attempts([stale], "worker", NOW, LEASE) == [Refusal.STALE]
    own = Intent(post.id, 0, taken.post.claim_fence, "hash")
    # Even before the reaper comes, a lease that has ended is worth nothing.
    assert await ledger.begin_attempts([own], "worker", AFTER_LEASE, LEASE) == [Refusal.STALE]
    assert await ledger.reap_leases(AFTER_LEASE, 10) == {post.id: PostState.SCHEDULED}
    [claimed] = await ledger.claim_due("claimer", AFTER_LEASE, LEASE, 10)
    assert claimed.fence > taken.post.claim_fence
    assert await ledger.begin_attempts([own], "worker", AFTER_LEASE, LEASE) == [Refusal.STALE]
    assert await ledger.release([Release(post.id, own.fence, NOW, "X_RATE_LIMITED", "later")], NOW) == 0
    assert not await ledger.give_up(post.id, own.fence, Failure("X_REJECTED", "no", NOW), NOW)


async def test_a_lease_that_ends_while_publishing_leads_to_unknown(
    ledger: PostgresLedger, posts: PostgresPosts, database: Database, add_bot: AddBot, add_post: AddPost
) -> None:
    """X may have the post; sending it again would double it."""
    post = await add_post(await add_bot())
    attempt = await begin(ledger, await held(ledger))
    assert await ledger.reap_leases(NOW, 10) == {}
    assert await ledger.reap_leases(AFTER_LEASE, 10) == {post.id: PostState.UNKNOWN}
    assert await ledger.claim_due("claimer", AFTER_LEASE, LEASE, 10) == []
    [due] = await ledger.unknown_due(AFTER_LEASE, 10)
    assert due.post.failure is not None
    assert due.post.failure.reason == "X_OUTCOME_UNKNOWN"
    assert due.post.parts[0].state is PartState.UNKNOWN
    async with database.read() as connection:
        assert (await connection.execute(select(attempts.c.outcome))).scalar_one() == "UNKNOWN"
    # The worker was only slow, and knows better.
    [after] = await ledger.finish_attempts([Finish(attempt, ACCEPTED)], AFTER_LEASE, LEASE)
    assert after is not None
    assert after.state is PostState.PUBLISHED
    async with database.read() as connection:
        assert (await connection.execute(select(attempts.c.outcome))).scalar_one() == "ACCEPTED"


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (AttemptOutcome.NOT_SENT, PostState.SCHEDULED),
        (AttemptOutcome.DEFERRED, PostState.SCHEDULED),
        (AttemptOutcome.REJECTED, PostState.FAILED),
        (AttemptOutcome.UNKNOWN, PostState.UNKNOWN),
        (AttemptOutcome.DUPLICATE, PostState.UNKNOWN),
    ],
)
async def test_an_outcome_leads_where_the_table_says(
    ledger: PostgresLedger, add_bot: AddBot, add_post: AddPost, outcome: AttemptOutcome, state: PostState
) -> None:
    """Only what surely was not taken is sent again."""
    await add_post(await add_bot())
    attempt = await begin(ledger, await held(ledger))
    later = NOW + timedelta(minutes=5)
    [after] = await ledger.finish_attempts([Finish(attempt, Answer(outcome), next_time=later)], NOW, LEASE)
    assert after is not None
    assert (after.state, after.lease_end_time, after.claimed_by) == (state, None, "")
    assert after.due_time == (None if state is PostState.FAILED else later)
    assert (await ledger.finish_attempts([Finish(attempt, Answer(outcome))], NOW, LEASE) == [None]) == (
        state is not PostState.UNKNOWN
    )


async def test_a_stopped_bot_gets_no_new_attempt(
    ledger: PostgresLedger, bots: PostgresBots, posts: PostgresPosts, add_bot: AddBot, add_post: AddPost
) -> None:
    """The kill switch holds for posts that are claimed already."""
    bot = await add_bot()
    post = await add_post(bot)
    taken = await held(ledger)
    await bots.apply(bot.id, BotEvent.REFUSE_CREDENTIALS, NOW, "X_CREDENTIALS_REJECTED", "401")
    intent = Intent(post.id, 0, taken.post.claim_fence, "hash")
    assert await ledger.begin_attempts([intent], "worker", NOW, LEASE) == [Refusal.BOT_NOT_ACTIVE]
    given = Release(post.id, taken.post.claim_fence, NOW, "INVALID_STATE", "the bot is stopped")
    assert await ledger.release([given], NOW) == 1
    assert (await posts.get(post.id)).state is PostState.SCHEDULED


async def test_what_is_too_late_is_missed(
    ledger: PostgresLedger, posts: PostgresPosts, add_bot: AddBot, add_post: AddPost
) -> None:
    """Yesterday's good morning is not sent; the reason is kept."""
    post = await add_post(await add_bot("paused", BotState.PAUSED))
    assert await ledger.miss_late(NOW, 10) == []
    assert await ledger.miss_late(NOW + LATENESS, 10) == [post.id]
    missed = await posts.get(post.id)
    assert missed.failure is not None
    assert (missed.state, missed.failure.reason) == (PostState.MISSED, "DEADLINE_MISSED")


async def test_a_found_post_is_adopted_by_one_part_only(
    ledger: PostgresLedger, add_bot: AddBot, add_post: AddPost
) -> None:
    """Two intents with the same text must not both claim the one post that X shows."""
    bot = await add_bot()
    for _ in range(2):
        await add_post(bot, "same")
        await begin(ledger, await held(ledger))
    assert len(await ledger.reap_leases(AFTER_LEASE, 10)) == 2
    first, second = [found.post for found in await ledger.unknown_due(AFTER_LEASE, 10)]
    adopted = await ledger.adopt(first.id, first.claim_fence, 0, "77", NOW, AFTER_LEASE)
    assert adopted is not None
    assert (adopted.state, adopted.x_post_ids) == (PostState.PUBLISHED, ("77",))
    with pytest.raises(Exception, match="belongs to another part"):
        await ledger.adopt(second.id, second.claim_fence, 0, "77", NOW, AFTER_LEASE)
    again = await ledger.send_again(second.id, second.claim_fence, AFTER_LEASE)
    assert again is not None
    assert again.state is PostState.SCHEDULED


async def test_an_answer_with_the_id_of_another_part_proves_nothing(
    ledger: PostgresLedger, add_bot: AddBot, add_post: AddPost
) -> None:
    """One bad answer of a batch costs neither the others nor the truth."""
    bot = await add_bot()
    posts = [await add_post(bot, name) for name in ("one", "two")]
    taken = await ledger.take(await ledger.claim_due("claimer", NOW, LEASE, 10), "worker", NOW, LEASE)
    begun = [await begin(ledger, one) for one in taken]
    await ledger.finish_attempts([Finish(begun[0], ACCEPTED)], NOW, LEASE)
    [after] = await ledger.finish_attempts([Finish(begun[1], ACCEPTED)], NOW, LEASE)
    assert after is not None
    assert after.state is PostState.UNKNOWN
    assert len(posts) == 2


async def test_claiming_uses_the_index_of_what_waits(
    database: Database, ledger: PostgresLedger, add_bot: AddBot, add_post: AddPost
) -> None:
    """Millions of finished posts must not slow the claimer down."""
    await add_post(await add_bot())
    async with database.read() as connection:
        # Whatever the planner thinks of so few rows: only the index of what waits gives this order without a sort.
        for way in ("seqscan", "sort"):
            await connection.execute(text(f"SET LOCAL enable_{way} = off"))
        plan = await connection.execute(
            text(
                "EXPLAIN SELECT id FROM posts WHERE state = 'SCHEDULED' AND due_time <= now()"
                " ORDER BY due_time, id LIMIT 10"
            )
        )
        assert "posts_claim" in "\n".join(plan.scalars())
        assert (await connection.execute(select(func.count()).select_from(attempts))).scalar_one() == 0
