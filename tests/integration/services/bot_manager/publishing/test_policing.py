"""The policy checks before a post is sent: against the real publisher and the sandbox."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from mesh.configuration import Snapshot
from mesh.tasks import TaskSet
from services.bot_manager.domain.model import EntryKind, PartState, PolicyRule, PostState
from services.bot_manager.policy.settings import SEVERITIES, Policy
from services.bot_manager.publishing.policing import Policing
from services.bot_manager.publishing.sender import Sender
from services.bot_manager.store.similarity import PostgresLikenesses
from services.bot_manager.store.surroundings import PostgresSurroundings
from tests.integration.services.bot_manager.publishing.rig import CLOCK, Rig

S, E = PostState, EntryKind


@asynccontextmanager
async def policed(rig: Rig, policy: Callable[[], Policy] = Policy.of) -> AsyncIterator[Sender]:
    """A replica whose sender asks the policy checks."""

    async def note(post: Any, entries: Any) -> None:
        await rig.ledger.note(post.id, post.claim_fence, entries, CLOCK.now())

    is_own = PostgresSurroundings(rig.database).is_own
    policing = Policing(PostgresLikenesses(rig.database), is_own, note, policy, CLOCK)
    async with TaskSet() as tasks:
        tasks.spawn_loop(policing.run, name="policing")
        async with rig.replica(checks=(policing,)) as sender:
            yield sender


async def test_of_two_that_say_the_same_the_later_gives_way(rig: Rig) -> None:
    """Made at once on two bots, neither saw the other when it was stored; before it is sent one of them is stopped, never both."""
    one, other = await rig.bot(), await rig.bot("other")
    first, second = await rig.post(one, "the same"), await rig.post(other, "The  same")
    third = await rig.post(other, "something else")
    async with policed(rig):
        await rig.until(first, S.PUBLISHED)
        refused = await rig.until(second, S.FAILED)
        await rig.until(third, S.PUBLISHED)
    assert refused.failure is not None
    assert (refused.failure.reason, refused.failure.part_index) == ("POLICY_VIOLATION", 0)
    assert (await rig.kinds(second))[-2:] == [E.POLICY_CHECKED, E.FAILED]
    assert len(await rig.shown()) == 2


async def test_what_was_made_before_a_rule_was_tightened_is_stopped(rig: Rig) -> None:
    """The rules of the moment hold, not those of the day on which a post was written."""
    bot = await rig.bot()
    plain, marked = await rig.post(bot, "plain"), await rig.post(bot, "hi @stranger")
    strict = Policy(Snapshot(values={SEVERITIES[PolicyRule.MENTIONS].key: "error"}))
    async with policed(rig, lambda: strict):
        await rig.until(plain, S.PUBLISHED)
        assert (await rig.until(marked, S.FAILED)).attempt_count == 0


async def test_where_cold_replies_are_refused_the_bot_goes_on_answering_itself(rig: Rig) -> None:
    """Whose post is answered is looked up as it was when the reply was made: what was accepted then is not refused at its time."""
    bot = await rig.bot()
    said = await rig.post(bot, "a question")
    strict = Policy(Snapshot(values={SEVERITIES[PolicyRule.COLD_REPLY].key: "error"}))
    async with policed(rig, lambda: strict):
        (x_post_id,) = (await rig.until(said, S.PUBLISHED)).x_post_ids
        answer = await rig.post(bot, "and its answer", reply_to_x_post_id=x_post_id)
        cold = await rig.post(bot, "buy this", reply_to_x_post_id="1")
        await rig.until(answer, S.PUBLISHED)
        assert (await rig.until(cold, S.FAILED)).attempt_count == 0


async def test_only_what_has_begun_is_finished_against_the_rules(rig: Rig) -> None:
    """Half a thread is worse than one that breaks a rule; but one that breaks it is not begun."""
    bot = await rig.bot()
    thread = await rig.post(bot, "first", "$A $B")
    async with policed(rig) as sender:
        refused = await rig.until(thread, S.FAILED)
        [policing] = sender.checks
        begun = replace(thread.parts[0], state=PartState.PUBLISHED, x_post_id="1")
        post = replace(thread, parts=(begun, thread.parts[1]))
        assert await policing(post, bot, post.parts[1]) is None
    assert refused.failure is not None
    assert (refused.x_post_ids, refused.failure.part_index) == ((), 1)
