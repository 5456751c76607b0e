"""What becomes of a post, whatever X does: the right state, the right story, and never two posts."""

from dataclasses import replace

import pytest

from mesh.errors import Unavailable
from mesh.tasks import TaskSet
from services.bot_manager.domain.model import BotState, EntryKind, PartState, PostState
from services.bot_manager.x.port import OAUTH1_FIELDS
from tests.integration.services.bot_manager.publishing.rig import SECOND, Rig, now

S, E = PostState, EntryKind


async def test_a_due_post_goes_out_once_and_on_time(rig: Rig) -> None:
    """What the product is for."""
    bot = await rig.bot()
    async with rig.replica():
        due = now() + SECOND
        post = await rig.until(await rig.post(bot, "hello", due=due), S.PUBLISHED)
    (shown,) = await rig.shown()
    assert (shown["id"],) == post.x_post_ids
    assert post.publish_time is not None
    assert due <= post.publish_time < due + SECOND
    assert await rig.kinds(post) == [
        E.CREATED,
        E.SCHEDULED,
        E.DUE,
        E.CLAIMED,
        E.COST_RESERVED,
        E.ATTEMPT_STARTED,
        E.ATTEMPT_FINISHED,
        E.PUBLISHED,
        E.COST_SETTLED,
    ]


@pytest.mark.parametrize(
    ("fault", "stored"),
    [
        ("timeout_before", 0),
        ("timeout_after", 1),
        ("reset_before", 0),
        ("reset_after", 1),
        ("error_500_before", 0),
        ("error_500_after", 1),
        ("html_502", 0),
        ("no_id", 1),
    ],
)
async def test_an_ambiguous_answer_leaves_the_post_unknown_and_is_never_repeated(
    rig: Rig, fault: str, stored: int
) -> None:
    """From here a stored post and a lost one look the same, so both wait to be read."""
    bot = await rig.bot()
    await rig.fault(fault)
    async with rig.replica():
        post = await rig.until(await rig.post(bot), S.UNKNOWN)
        later = await rig.until(await rig.post(bot, "another"), S.PUBLISHED)
    assert post.failure is not None
    assert post.failure.reason == "X_OUTCOME_UNKNOWN"
    assert "until reading the account" in post.failure.message
    assert post.parts[0].state is PartState.UNKNOWN
    assert await rig.outcomes(post) == ["UNKNOWN"]
    assert len(await rig.shown()) == stored + len(later.x_post_ids)


async def test_a_slow_answer_within_the_limit_is_an_answer(rig: Rig) -> None:
    """Slow is not lost."""
    bot = await rig.bot()
    await rig.fault("slow", seconds=0.4)
    async with rig.replica():
        await rig.until(await rig.post(bot), S.PUBLISHED)
    assert len(await rig.shown()) == 1


async def test_a_rate_limit_defers_to_its_reset_and_holds_the_bot_s_other_posts(rig: Rig) -> None:
    """Deferring is not failing, and one refusal is enough to know."""
    bot = await rig.bot()
    await rig.fault("rate_limited", seconds=2)
    async with rig.replica():
        first = await rig.post(bot, "first")
        await rig.until_attempted(first, "DEFERRED")
        deferred = await rig.until(first, S.SCHEDULED)
        second = await rig.post(bot, "second")
        first, second = await rig.until(first, S.PUBLISHED), await rig.until(second, S.PUBLISHED)
    assert deferred.failure is None
    assert await rig.outcomes(first) == ["DEFERRED", "ACCEPTED"]
    assert await rig.outcomes(second) == ["ACCEPTED"]
    assert E.DEFERRED in await rig.kinds(second)
    assert len(await rig.shown()) == 2


async def test_used_up_credits_are_not_asked_for_again_by_every_post(rig: Rig) -> None:
    """A loop of refused calls is what other systems are known for."""
    bot = await rig.bot()
    await rig.fault("credits_depleted", count=10)
    async with rig.replica():
        first = await rig.post(bot, "first")
        await rig.until_attempted(first, "DEFERRED")
        second = await rig.post(bot, "second")
        await rig.until_told(second, E.DEFERRED)
    assert await rig.outcomes(first) == ["DEFERRED"]
    assert await rig.outcomes(second) == []
    waiting = await rig.posts.get(first.id)
    assert waiting.state is S.SCHEDULED
    assert waiting.due_time is not None
    assert waiting.due_time > now() + 1000 * SECOND
    assert await rig.shown() == []


async def test_a_duplicate_fails_with_its_reason(rig: Rig) -> None:
    """Without an unknown attempt before, it is somebody's earlier post and not this one."""
    bot = await rig.bot()
    await rig.fault("duplicate")
    async with rig.replica():
        post = await rig.until(await rig.post(bot), S.FAILED)
    assert post.failure is not None
    assert (post.failure.reason, post.failure.http_status) == ("X_DUPLICATE", 403)


async def test_a_duplicate_after_an_unknown_attempt_is_unknown_again(rig: Rig) -> None:
    """X refuses because it has it: the first attempt did go through."""
    bot = await rig.bot()
    await rig.fault("timeout_after")
    async with rig.replica():
        post = await rig.until(await rig.post(bot), S.UNKNOWN)
        await rig.ledger.send_again(post.id, post.claim_fence, now())
        await rig.until_attempted(post, "UNKNOWN", "DUPLICATE")
        post = await rig.until(post, S.UNKNOWN)
    assert await rig.outcomes(post) == ["UNKNOWN", "DUPLICATE"]
    assert len(await rig.shown()) == 1


async def test_a_refused_post_fails_and_says_why(rig: Rig) -> None:
    """The author can do something about it."""
    bot = await rig.bot()
    async with rig.replica():
        post = await rig.until(await rig.post(bot, "x" * 281), S.FAILED)
    assert post.failure is not None
    assert post.failure.reason == "X_REJECTED"
    assert "too long" in post.failure.problem_detail
    assert post.parts[0].state is PartState.FAILED


async def test_x_being_unreachable_is_tried_again_and_then_given_up(rig: Rig) -> None:
    """Surely unsent attempts may be repeated, but not for ever."""
    bot = await rig.bot()
    async with rig.replica(url="http://127.0.0.1:9"):
        post = await rig.until(await rig.post(bot), S.FAILED)
    assert post.failure is not None
    assert post.failure.reason == "X_UNAVAILABLE"
    assert await rig.outcomes(post) == ["NOT_SENT"] * 3


async def test_x_coming_back_publishes_what_was_not_sent(rig: Rig) -> None:
    """A connection refused for a moment costs a moment."""
    bot = await rig.bot()
    async with rig.replica(url="http://127.0.0.1:9"):
        post = await rig.post(bot)
        await rig.until_attempted(post, "NOT_SENT")
    async with rig.replica():
        await rig.until(post, S.PUBLISHED)
    assert len(await rig.shown()) == 1


async def test_refused_credentials_stop_the_bot_and_keep_the_post_until_new_ones_come(rig: Rig) -> None:
    """A disconnected account must not eat the calendar, and must be seen."""
    bot = await rig.bot()
    good = rig.secrets.fields[bot.id]
    rig.secrets.put(bot.id, dict.fromkeys(OAUTH1_FIELDS, "wrong"))
    async with rig.replica() as sender:
        post = await rig.post(bot)
        await rig.until_bot(bot, BotState.REAUTH_REQUIRED)
        waiting = await rig.until(post, S.SCHEDULED)
        stopped = await rig.bots.get(bot.id)
        assert (stopped.state, stopped.state_detail.reason) == (
            BotState.REAUTH_REQUIRED,
            "X_CREDENTIALS_REJECTED",
        )
        assert waiting.failure is None
        rig.secrets.put(bot.id, good)
        sender.leases.forget(bot.id)
        await rig.bots.change(bot.id, lambda old: replace(old, state=BotState.ACTIVE), now())
        await rig.until(post, S.PUBLISHED)
    assert await rig.outcomes(post) == ["DEFERRED", "ACCEPTED"]


async def test_credentials_that_were_just_replaced_do_not_stop_the_bot(rig: Rig) -> None:
    """X refused the old ones, which this process still held; the new ones deserve a try."""
    bot = await rig.bot()
    good = rig.secrets.fields[bot.id]
    rig.secrets.put(bot.id, dict.fromkeys(OAUTH1_FIELDS, "wrong"))
    async with rig.replica() as sender:
        await sender.leases.get(bot.id, "before the change", SECOND)
        rig.secrets.put(bot.id, good)
        post = await rig.until(await rig.post(bot), S.PUBLISHED)
    assert await rig.outcomes(post) == ["DEFERRED", "ACCEPTED"]
    assert (await rig.bots.get(bot.id)).state is BotState.ACTIVE


async def test_a_bot_without_credentials_is_stopped_before_x_is_called(rig: Rig) -> None:
    """There is nothing to try."""
    bot = await rig.bot()
    del rig.secrets.fields[bot.id]
    async with rig.replica():
        post = await rig.post(bot)
        await rig.until_bot(bot, BotState.REAUTH_REQUIRED)
        await rig.until(post, S.SCHEDULED)
    assert await rig.outcomes(post) == []
    assert E.DEFERRED in await rig.kinds(post)


async def test_a_vault_that_is_away_delays_and_costs_no_attempt(rig: Rig) -> None:
    """X was never asked, so nothing counts against the post."""
    bot = await rig.bot()
    rig.secrets.fail_next(Unavailable("VAULT_SEALED", "the vault is sealed"), 3)
    async with rig.replica():
        post = await rig.until(await rig.post(bot), S.PUBLISHED)
    assert await rig.outcomes(post) == ["ACCEPTED"]
    deferred = [entry for entry in await rig.posts.story(post.id, 0, 100) if entry.kind is E.DEFERRED]
    assert [entry.details["deferral"]["reason"] for entry in deferred] == ["VAULT_SEALED"] * 3


async def test_a_thread_goes_out_in_order_each_replying_to_the_one_before(rig: Rig) -> None:
    """That is what a thread is."""
    bot = await rig.bot()
    async with rig.replica():
        post = await rig.until(await rig.post(bot, "one", "two", "three"), S.PUBLISHED)
    shown = {one["id"]: one for one in await rig.shown()}
    assert len(shown) == 3
    replies = [shown[x_post_id]["in_reply_to"] for x_post_id in post.x_post_ids]
    assert replies == [None, post.x_post_ids[0], post.x_post_ids[1]]


async def test_a_thread_resumes_at_its_first_missing_part(rig: Rig) -> None:
    """A limit in the middle must not repeat the beginning."""
    bot = await rig.bot()
    async with rig.replica():
        await rig.fault("slow", seconds=0.01)
        await rig.fault("rate_limited", seconds=1)
        post = await rig.until(await rig.post(bot, "one", "two", "three"), S.PUBLISHED)
    assert await rig.outcomes(post) == ["ACCEPTED", "DEFERRED", "ACCEPTED", "ACCEPTED"]
    assert sorted(one["text"] for one in await rig.shown()) == ["one", "three", "two"]


async def test_posts_of_a_stopped_bot_wait(rig: Rig) -> None:
    """PauseBot is the kill switch."""
    bot = await rig.bot()
    await rig.bots.change(bot.id, lambda old: replace(old, state=BotState.PAUSED), now())
    async with rig.replica():
        post = await rig.post(bot)
        other = await rig.bot("other")
        await rig.until(await rig.post(other), S.PUBLISHED)
    assert (await rig.posts.get(post.id)).state is S.SCHEDULED


@pytest.mark.parametrize("state", [BotState.PAUSED, BotState.ARCHIVED])
async def test_a_bot_that_is_stopped_after_the_claim_is_not_even_lent_its_secret(
    rig: Rig, state: BotState
) -> None:
    """What is not in memory cannot be used: the check before the secret keeps the intent's from being the only one."""
    bot = await rig.bot()
    post = await rig.post(bot)
    (claim,) = await rig.ledger.claim_due("claimer", now(), 60 * SECOND, 10)
    await rig.bots.change(bot.id, lambda old: replace(old, state=state), now())
    async with TaskSet() as tasks:
        sender = rig.sender(tasks, rig.port())
        sender.ledger.start(tasks)
        await sender.publish(claim)
    assert (rig.secrets.asked, await rig.shown()) == ([], [])
    assert (await rig.posts.get(post.id)).state is S.SCHEDULED


async def test_a_secret_held_from_before_the_stop_opens_nothing(rig: Rig) -> None:
    """Another replica holds it for up to five minutes; the intent is refused there."""
    bot = await rig.bot()
    async with TaskSet() as tasks:
        sender = rig.sender(tasks, rig.port())
        sender.ledger.start(tasks)
        await sender.leases.get(bot.id, "publish another", SECOND)
        post = await rig.post(bot)
        (claim,) = await rig.ledger.claim_due("claimer", now(), 60 * SECOND, 10)
        await rig.bots.change(bot.id, lambda old: replace(old, state=BotState.PAUSED), now())
        await sender.publish(claim)
    assert (await rig.posts.get(post.id)).state is S.SCHEDULED
    assert (await rig.outcomes(post), await rig.shown()) == ([], [])


async def test_a_post_whose_latest_time_has_passed_is_missed(rig: Rig) -> None:
    """Late news may be worse than none."""
    bot = await rig.bot()
    post = await rig.post(bot, due=now() - 7200 * SECOND)
    async with rig.replica():
        post = await rig.until(post, S.MISSED)
    assert await rig.shown() == []
