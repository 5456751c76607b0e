"""Changes that are not in force at once, on the real database: four eyes, steps, reversals, and what watchers see of them."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from mesh.database import Database
from mesh.errors import Aborted, FailedPrecondition, InvalidArgument, MeshError, NotFound, PermissionDenied
from mesh.ids import new_id
from services.configuration.convert.watch import from_event, from_snapshot
from services.configuration.domain.changes import Author, Cause, Transaction
from services.configuration.domain.guard import Rate
from services.configuration.domain.pending import Event, PendingChange, State
from services.configuration.domain.rollout_plan import Guard, RolloutPlan, Staged
from services.configuration.domain.setting import Wish
from services.configuration.domain.values import Stored
from services.configuration.feed import Stop
from tests.fakes.clock import ManualClock
from tests.integration.services.configuration.changing import (
    ANA,
    BAKE,
    DEFINITIONS,
    GUARDED,
    KEY,
    OTHER,
    SECRET,
    Replica,
    name_joining,
    names_at,
    replica,
)
from vivesphere.configuration.v1 import watch_pb2

PLAN = RolloutPlan((10, 50), BAKE)
WATCHFUL = replace(PLAN, guard=Guard(0.05, min_calls=100))
BEA = "bea"


@pytest.fixture
async def one(database: Database) -> Replica:
    """A replica on an empty history with four definitions, which are revision 1."""
    made = replica(database, ManualClock())
    await made.settings.register(DEFINITIONS, Author("service:bot_manager"))
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM outbox"))
    return made


async def _rolling(one: Replica, value: object = 9, plan: RolloutPlan = PLAN) -> PendingChange:
    """KEY on its way to a value, at its first step."""
    setting = await one.settings.change(Wish(KEY, Stored(value)), ANA, plan)
    return await one.changes.get(setting.pending_change_id)


async def _waiting(one: Replica, key: str = GUARDED, value: object = 9) -> PendingChange:
    """A setting that waits for a second person."""
    setting = await one.settings.change(Wish(key, Stored(value)), ANA)
    return await one.changes.get(setting.pending_change_id)


async def _causes(one: Replica, key: str = KEY) -> list[Cause]:
    return [change.cause for _, change in (await one.settings.history(key, None, 100))[0]]


# Four eyes.


async def test_what_needs_approval_is_not_in_force_until_a_second_person_says_so(one: Replica) -> None:
    """By whichever way it is changed; then the revision names both."""
    change = await _waiting(one)
    setting = await one.settings.get(GUARDED)
    assert (setting.value, setting.revision, setting.pending_change_id) == (3, 0, change.id)
    assert (change.state, change.expire_time) == (
        State.PENDING_APPROVAL,
        one.clock.now() + timedelta(days=7),
    )
    approved = await one.changes.approve(change.id, BEA)
    assert (approved.state, approved.revision, approved.decider) == (State.APPLIED, 2, BEA)
    setting = await one.settings.get(GUARDED)
    assert (setting.value, setting.revision, setting.actor, setting.pending_change_id) == (9, 2, "ana", "")
    ((transaction, entry),), _ = await one.settings.history(GUARDED, None, 10)
    assert transaction.author == Author("ana", "because", BEA)
    assert entry.cause is Cause.UPDATE
    assert await one.changes.approve(change.id, BEA) == approved
    assert (await one.store.head()).revision == 2


async def test_reset_rollback_and_batch_need_the_approval_too(one: Replica) -> None:
    """There is no door beside the door."""
    await one.changes.approve((await _waiting(one)).id, BEA)
    for attempt in (
        one.settings.change(Wish(GUARDED, None), ANA),
        one.settings.rollback(GUARDED, 1, "", ANA),
    ):
        setting = await attempt
        assert (setting.value, setting.revision) == (9, 2)
        await one.changes.reject(setting.pending_change_id, BEA, "no")
    settings, revision = await one.settings.change_all(
        [Wish(KEY, Stored(1)), Wish(GUARDED, Stored(1)), Wish(OTHER, Stored(3))], ANA
    )
    assert ([setting.value for setting in settings], revision) == ([3, 9, 3], 0)
    assert len({setting.pending_change_id for setting in settings}) == 1
    change = await one.changes.approve(settings[0].pending_change_id, BEA)
    assert {(await one.settings.get(key)).revision for key in (KEY, OTHER, GUARDED)} == {change.revision}


async def test_nobody_approves_what_they_asked_for(one: Replica) -> None:
    """And it goes on waiting."""
    change = await _waiting(one)
    with pytest.raises(PermissionDenied) as refused:
        await one.changes.approve(change.id, "ana")
    assert refused.value.reason == "SELF_APPROVAL_REFUSED"
    assert await one.changes.get(change.id) == change


async def test_of_two_approvers_both_are_answered_and_one_revision_is_made(one: Replica) -> None:
    """They click at the same time, on two replicas."""
    change = await _waiting(one)
    second = replica(one.database, one.clock)
    answers = await asyncio.gather(
        one.changes.approve(change.id, BEA), second.changes.approve(change.id, "cid")
    )
    assert answers[0] == answers[1]
    assert (await one.store.head()).revision == 2


async def test_approving_and_rejecting_at_once_have_one_winner(one: Replica) -> None:
    """Never in force and rejected."""
    for number in range(5):
        change = await _waiting(one, value=100 + number)
        outcomes = await asyncio.gather(
            one.changes.approve(change.id, BEA),
            one.changes.reject(change.id, "cid", "no"),
            return_exceptions=True,
        )
        losers = [outcome for outcome in outcomes if isinstance(outcome, MeshError)]
        assert [loser.reason for loser in losers] == ["INVALID_STATE"]
        in_force = (await one.settings.get(GUARDED)).value == 100 + number
        assert ((await one.changes.get(change.id)).state is State.APPLIED) is in_force


async def test_what_a_release_changed_meanwhile_is_not_approved(one: Replica) -> None:
    """The difference that the second person saw is not the one that would be made."""
    await one.changes.approve((await _waiting(one, value=500)).id, BEA)
    change = await _waiting(one, value=5)
    tighter = replace(DEFINITIONS[2], json_schema={"type": "integer", "maximum": 10}, release="2.0.0")
    await one.settings.register([tighter], Author("service:bot_manager"))
    with pytest.raises(Aborted) as refused:
        await one.changes.approve(change.id, BEA)
    assert refused.value.reason == "ETAG_MISMATCH"
    assert (await one.changes.reject(change.id, BEA, "ask again")).state is State.REJECTED


async def test_a_value_that_breaks_todays_definition_is_not_approved(one: Replica) -> None:
    """The law of the moment in which it comes into force counts."""
    change = await _waiting(one, value=500)
    tighter = replace(DEFINITIONS[2], json_schema={"type": "integer", "maximum": 10}, release="2.0.0")
    await one.settings.register([tighter], Author("service:bot_manager"))
    with pytest.raises(InvalidArgument):
        await one.changes.approve(change.id, BEA)
    assert (await one.settings.get(GUARDED)).value == 3


async def test_a_setting_has_one_change_on_its_way(one: Replica) -> None:
    """Asking for the same again answers that one, whoever asks; anything else has to wait."""
    change = await _waiting(one)
    again = await one.settings.change(Wish(GUARDED, Stored(9)), Author("dan"))
    assert again.pending_change_id == change.id
    rolling = await _rolling(one)
    assert (await _rolling(one)).id == rolling.id
    for attempt in (
        one.settings.change(Wish(GUARDED, Stored(10)), ANA),
        one.settings.change(Wish(GUARDED, Stored(9)), ANA, PLAN),
        one.settings.change(Wish(KEY, Stored(10)), ANA),
        one.settings.change(Wish(KEY, Stored(9)), ANA),
        one.settings.change_all([Wish(KEY, Stored(9)), Wish(GUARDED, Stored(9))], ANA),
        one.settings.change_all([Wish(KEY, Stored(9)), Wish(OTHER, Stored(9))], ANA),
    ):
        with pytest.raises(FailedPrecondition) as refused:
            await attempt
        assert refused.value.reason == "INVALID_STATE"
    assert (await one.settings.change(Wish(GUARDED, None), ANA)).value == 3
    await one.changes.reject(change.id, "ana", "never mind")
    assert (await _waiting(one, value=10)).id != change.id


async def test_racing_changes_of_a_setting_have_one_winner(one: Replica) -> None:
    """Under the writer's lock the second finds that the setting is taken."""
    attempts = (one.settings.change(Wish(GUARDED, Stored(value)), ANA) for value in range(100, 108))
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert len([outcome for outcome in outcomes if isinstance(outcome, FailedPrecondition)]) == 7


async def test_what_nobody_decides_is_rejected_in_time(one: Replica) -> None:
    """Not a tick earlier, on the trail, and the setting is free again."""
    change = await _waiting(one)
    await one.after(timedelta(days=7) - timedelta(seconds=1))
    assert (await one.changes.get(change.id)).state is State.PENDING_APPROVAL
    await one.after(timedelta(seconds=1))
    ended = await one.changes.get(change.id)
    assert (ended.state, ended.decider, ended.revision, ended.expire_time) == (State.REJECTED, "", 0, None)
    assert "in time" in ended.outcome
    assert await one.trail() == [("setting_change.expired", f"settingChanges/{change.id}")]
    assert (await one.settings.get(GUARDED)).pending_change_id == ""
    with pytest.raises(FailedPrecondition):
        await one.changes.approve(change.id, BEA)


async def test_changes_are_listed_newest_first_by_state(one: Replica) -> None:
    """Whoever looks for work finds what waits."""
    first, second = await _rolling(one), await _waiting(one)
    third = await _waiting(one, SECRET)
    await one.changes.reject(third.id, BEA, "no")
    ids = [change.id for change in await one.changes.page("", 10, None)]
    assert ids == [third.id, second.id, first.id]
    assert [change.id for change in await one.changes.page(third.id, 1, None)] == [second.id]
    assert [change.id for change in await one.changes.page("", 10, State.ROLLING_OUT)] == [first.id]
    with pytest.raises(NotFound) as missing:
        await one.changes.get(new_id())
    assert missing.value.reason == "SETTING_CHANGE_NOT_FOUND"


# Steps.


async def test_a_rollout_takes_its_steps_and_then_stores_the_value(one: Replica) -> None:
    """Each step is a revision with the staged value; the last one is the change itself, by who asked."""
    change = await _rolling(one)
    seen: list[tuple[int, Staged | None, object]] = []
    for wait in (BAKE - timedelta(seconds=1), timedelta(seconds=1), BAKE, BAKE):
        setting = await one.settings.get(KEY)
        seen.append(((await one.store.head()).revision, setting.staged, setting.value))
        await one.after(wait)
    stored = Stored(9)
    assert seen == [
        (2, Staged(stored, 10, change.id), 3),
        (2, Staged(stored, 10, change.id), 3),
        (3, Staged(stored, 50, change.id), 3),
        (4, None, 9),
    ]
    ended = await one.changes.get(change.id)
    assert (ended.state, ended.share_percent, ended.revision) == (State.APPLIED, 100, 4)
    ((transaction, entry),), _ = await one.settings.history(KEY, None, 10)
    assert (transaction.revision, transaction.author, entry.cause) == (4, ANA, Cause.ROLLOUT_COMPLETED)
    assert (entry.old, entry.new) == (None, stored)
    resource = f"settingChanges/{change.id}"
    assert await one.trail() == [
        ("setting_change.advanced", resource),
        ("setting_change.completed", resource),
    ]


async def test_an_approved_plan_rolls_out_instead_of_coming_into_force(one: Replica) -> None:
    """Both protections hold, one after the other."""
    setting = await one.settings.change(Wish(GUARDED, Stored(9)), ANA, PLAN)
    approved = await one.changes.approve(setting.pending_change_id, BEA)
    assert (approved.state, approved.share_percent, approved.expire_time) == (State.ROLLING_OUT, 10, None)
    assert await one.changes.approve(approved.id, "ana") == approved
    for _ in range(3):
        await one.after(BAKE)
    ((transaction, _),), _ = await one.settings.history(GUARDED, None, 10)
    assert transaction.author.approver == BEA


async def test_a_driver_that_was_away_goes_on_one_step_at_a_time(one: Replica) -> None:
    """Everything is in the database: another process takes the next step, with a whole bake time after it."""
    change = await _rolling(one)
    await one.clock.advance(BAKE * 100)
    other = replica(one.database, one.clock)
    await other.driver.tick()
    await other.driver.tick()
    assert (await other.changes.get(change.id)).share_percent == 50
    await one.clock.advance(BAKE)
    await replica(one.database, one.clock).driver.tick()
    assert (await one.changes.get(change.id)).state is State.APPLIED


async def test_of_many_drivers_one_takes_each_step(one: Replica) -> None:
    """Replicas look at the same moment; a share is never skipped."""
    change = await _rolling(one)
    replicas = [replica(one.database, one.clock) for _ in range(4)]
    for expected in (50, 100, 100):
        await one.clock.advance(BAKE)
        await asyncio.gather(*(each.driver.tick() for each in replicas))
        assert (await one.changes.get(change.id)).share_percent == expected
    assert (await one.store.head()).revision == 4
    assert len(await one.trail()) == 2


async def test_the_loop_drives_by_itself_and_ends_when_told(one: Replica) -> None:
    """A second after a step is due it is made."""
    change = await _rolling(one)
    running = asyncio.create_task(one.driver.run())
    for _ in range(500):
        await one.clock.advance(timedelta(seconds=1))
        await asyncio.sleep(0.005)
        if (await one.changes.get(change.id)).state is State.APPLIED:
            break
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (await one.changes.get(change.id)).state is State.APPLIED


async def test_a_reset_rolls_out_too(one: Replica) -> None:
    """The default is a value like any other; on the wire it is unset."""
    await one.settings.change(Wish(KEY, Stored(9)), ANA)
    settings, revision = await one.settings.change_all([Wish(KEY, None), Wish(OTHER, Stored(1))], ANA, PLAN)
    assert revision == 0
    (message,) = [message for message in await _snapshot(one) if message.key == KEY]
    assert not message.staged.HasField("value")
    assert message.staged.change_id == settings[0].pending_change_id
    for _ in range(2):
        await one.after(BAKE)
    values = [(await one.settings.get(key)).stored for key in (KEY, OTHER)]
    assert values == [None, Stored(1)]


# Reversals.


async def test_a_person_stops_a_rollout(one: Replica) -> None:
    """Nobody has the value any more, the etag is what it was, and the history says who and why."""
    await one.settings.change(Wish(KEY, Stored(5)), ANA)
    change = await _rolling(one)
    await one.after(BAKE)
    stopped = await one.changes.reject(change.id, BEA, "too slow")
    assert (stopped.state, stopped.share_percent, stopped.revision) == (State.REVERTED, 0, 5)
    assert await one.changes.reject(change.id, BEA, "again") == stopped
    setting = await one.settings.get(KEY)
    assert (setting.value, setting.revision, setting.staged, setting.pending_change_id) == (5, 2, None, "")
    ((transaction, entry), _), _ = await one.settings.history(KEY, None, 10)
    assert (entry.cause, entry.old, entry.new) == (Cause.ROLLOUT_REVERTED, Stored(5), Stored(5))
    assert transaction.author == Author(BEA, "too slow")
    await one.after(BAKE * 10)
    assert (await one.store.head()).revision == 5


async def test_what_is_in_force_everywhere_is_not_rejected(one: Replica) -> None:
    """That would be a rollback, which is a change of its own."""
    change = await _rolling(one)
    for _ in range(2):
        await one.after(BAKE)
    with pytest.raises(FailedPrecondition) as refused:
        await one.changes.reject(change.id, BEA, "too late")
    assert refused.value.reason == "INVALID_STATE"


async def test_an_instance_that_refuses_the_value_reverts_it(one: Replica) -> None:
    """It keeps what it had; those that would come next never get it."""
    change = await _rolling(one)
    name = names_at(change.id, 10, inside=True)[0]
    await one.connect(name)
    await one.refuse(name)
    await one.driver.tick()
    reverted = await one.changes.get(change.id)
    assert reverted.state is State.REVERTED
    assert reverted.outcome == f"bot_manager {name} refused {KEY}: out of range"
    assert await _causes(one) == [Cause.ROLLOUT_REVERTED]
    assert await one.trail() == [("setting_change.reverted", f"settingChanges/{change.id}")]


async def test_a_refusal_of_something_else_reverts_nothing(one: Replica) -> None:
    """Of another setting, of a revision before, or by an instance that does not have the value."""
    (inside, *_) = names_at(new_id(), 1, inside=False)
    await one.refuse(inside)  # at revision 1, before the change
    change = await _rolling(one)
    await one.refuse(names_at(change.id, 10, inside=True)[1], OTHER)
    await one.refuse(names_at(change.id, 10, inside=False)[0])
    await one.driver.tick()
    assert (await one.changes.get(change.id)).state is State.ROLLING_OUT


async def test_the_guard_reverts_when_too_many_calls_fail(one: Replica) -> None:
    """Within one look after the numbers are there, with a sentence that names them."""
    change = await _rolling(one, plan=WATCHFUL)
    names = names_at(change.id, 10, inside=True)[:2]
    await one.connect(*names)
    for name in names:
        await one.report(name, 10_000, 9_000)  # what was before is not held against the value
    await one.after(timedelta(seconds=5))
    for name in names:
        await one.report(name, 10_040, 9_004)
    await one.after(timedelta(seconds=5))
    assert (await one.changes.get(change.id)).state is State.ROLLING_OUT  # 80 calls say nothing
    for name in names:
        await one.report(name, 10_100, 9_010)
    await one.driver.tick()
    reverted = await one.changes.get(change.id)
    assert (reverted.state, reverted.decider) == (State.REVERTED, "")
    assert "20 of 200 calls" in reverted.outcome
    assert "10 % where at most 5 % is tolerated" in reverted.outcome
    ((transaction, _),), _ = await one.settings.history(KEY, None, 10)
    assert transaction.author == Author("service:configuration", reverted.outcome)
    for _ in range(5):  # and no flapping
        await one.after(BAKE)
    assert await one.changes.get(change.id) == reverted


async def test_only_calls_of_instances_with_the_value_count(one: Replica) -> None:
    """A neighbour's trouble does not stop a good change; as soon as the neighbour has the value, it does."""
    change = await _rolling(one, plan=WATCHFUL)
    good = names_at(change.id, 10, inside=True)[0]
    bad = name_joining(change.id, 10, 50)
    await one.connect(good, bad)
    for second in range(0, 65, 5):
        await one.report(good, 1000 * second, 0)
        await one.report(bad, 1000 * second, 1000 * second)
        await one.after(timedelta(seconds=5))
    rolling = await one.changes.get(change.id)
    assert (rolling.state, rolling.share_percent) == (State.ROLLING_OUT, 50)
    await one.report(bad, 90_000, 90_000)
    await one.driver.tick()
    assert (await one.changes.get(change.id)).state is State.REVERTED


async def test_a_guard_counts_the_service_it_names(one: Replica) -> None:
    """A setting of one service may hurt another."""
    plan = replace(PLAN, guard=Guard(0.05, "logging", 10))
    change = await _rolling(one, plan=plan)
    name = names_at(change.id, 10, inside=True)[0]
    now = one.clock.now()
    await one.instances.saw([(service, name, now) for service in ("bot_manager", "logging")], now)
    await one.report(name, 0, 0)
    await one.clock.advance(timedelta(seconds=5))
    await one.report(name, 1000, 1000)
    await one.driver.tick()
    assert (await one.changes.get(change.id)).state is State.ROLLING_OUT
    await one.calls.told("logging", name, one.clock.now(), Rate(20, 2), one.clock.now())
    await one.driver.tick()
    assert (await one.changes.get(change.id)).state is State.REVERTED


async def test_reports_are_kept_in_bounds(one: Replica) -> None:
    """One in five seconds, for an hour, however often an instance tells."""
    for _ in range(50):
        await one.report("chatty", 1, 0)
    await one.clock.advance(timedelta(seconds=5))
    await one.report("chatty", 2, 0)
    assert await _reports(one) == 2
    await one.after(timedelta(hours=1))
    assert await _reports(one) == 1


async def _reports(one: Replica) -> int:
    async with one.database.read() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM instance_calls"))).scalar_one())


async def test_a_value_that_a_new_release_forbids_goes_no_further(one: Replica) -> None:
    """The next step would spread what nobody may use."""
    change = await _rolling(one, value=500)
    tighter = replace(DEFINITIONS[0], json_schema={"type": "integer", "maximum": 10}, release="2.0.0")
    await one.settings.register([tighter], Author("service:bot_manager"))
    await one.after(BAKE)
    reverted = await one.changes.get(change.id)
    assert (reverted.state, KEY in reverted.outcome) == (State.REVERTED, True)


async def test_a_reversal_that_comes_late_finds_nothing_to_do(one: Replica) -> None:
    """Guard and person may decide in the same second."""
    change = await _rolling(one)
    outcomes = await asyncio.gather(
        one.changes.revert(change.id, Event.TRIP, "the guard tripped"),
        one.changes.reject(change.id, BEA, "too slow"),
        one.changes.revert(change.id, Event.REFUSE, "refused"),
    )
    assert len({outcome.outcome for outcome in outcomes if outcome}) == 1
    assert (await one.store.head()).revision == 3


# What watchers see.


async def _snapshot(one: Replica) -> list[watch_pb2.EffectiveSetting]:
    return [s for part in from_snapshot(await one.watching.snapshot()) for s in part.settings]


async def _missed(one: Replica, after: int, upto: int) -> list[watch_pb2.PolicyTransaction]:
    """What a watcher that resumes after a revision is told, up to another."""
    await one.feed.refresh()
    stream = one.watching.services(after, (await one.store.head()).history_id)
    told: list[watch_pb2.PolicyTransaction] = []
    async for event in stream:
        assert not isinstance(event, Stop)
        if isinstance(event, Transaction):
            told += [message.transaction for message in from_event(event)]
            if event.revision == upto:
                break
    return told


async def test_a_new_watcher_is_told_what_is_staged(one: Replica) -> None:
    """An instance that starts in the middle of a roll-out is in its share or not, like the others."""
    change = await _rolling(one)
    (message,) = [message for message in await _snapshot(one) if message.key == KEY]
    assert message.value.number_value == 3
    assert message.staged.value.number_value == 9
    assert (message.staged.share_percent, message.staged.change_id) == (10, change.id)
    assert not [m for m in await _snapshot(one) if m.key != KEY and m.HasField("staged")]


async def test_a_watcher_that_resumes_is_told_each_step_once(one: Replica) -> None:
    """From wherever it stands; after the end nothing is staged."""
    await _rolling(one)
    for _ in range(2):
        await one.after(BAKE)
    assert [(t.revision, _told(t)) for t in await _missed(one, 1, 4)] == [
        (2, (3, 0, 9, 10)),
        (3, (3, 0, 9, 50)),
        (4, (9, 4, None, 0)),
    ]
    assert [t.revision for t in await _missed(one, 2, 4)] == [3, 4]


async def test_a_watcher_that_resumes_after_a_reversal_holds_what_a_new_one_does(one: Replica) -> None:
    """Two ways to the same copy: value, revision and nothing staged."""
    await one.settings.change(Wish(KEY, Stored(5)), ANA)
    change = await _rolling(one)
    await one.changes.reject(change.id, BEA, "no")
    (reversal,) = await _missed(one, 3, 4)
    assert len(reversal.changes) == 1
    (fresh,) = [message for message in await _snapshot(one) if message.key == KEY]
    assert reversal.changes[0].setting == fresh
    assert not fresh.HasField("staged")


@pytest.mark.parametrize("maximum", [100, 4])
async def test_a_definition_that_changes_meanwhile_is_told_with_what_is_staged(
    one: Replica, maximum: int
) -> None:
    """Watchers replace all they know of a setting: left out would mean taken back."""
    await one.settings.change(Wish(KEY, Stored(5)), ANA)
    await _rolling(one, value=2)
    new = replace(DEFINITIONS[0], json_schema={"type": "integer", "maximum": maximum}, release="2.0.0")
    await one.settings.register([new], Author("service:bot_manager"))
    (told,) = await _missed(one, 3, 4)
    (fresh,) = [message for message in await _snapshot(one) if message.key == KEY]
    assert [change.setting for change in told.changes] == [fresh]
    assert fresh.staged.value.number_value == 2


async def test_a_staged_value_that_is_sensitive_is_told_to_be(one: Replica) -> None:
    """At each step and after a reversal: an instance must not write it to its disk."""
    setting = await one.settings.change(Wish(SECRET, Stored(9)), ANA, PLAN)
    await one.changes.approve(setting.pending_change_id, BEA)
    await one.after(BAKE)
    await one.changes.reject(setting.pending_change_id, BEA, "no")
    told = [change.setting for t in await _missed(one, 1, 4) for change in t.changes]
    assert [(message.key, message.sensitive) for message in told] == [(SECRET, True)] * 3


async def test_people_who_watch_see_the_end_only(one: Replica) -> None:
    """Steps are no changes of the value."""
    await _rolling(one)
    for _ in range(2):
        await one.after(BAKE)
    await one.feed.refresh()
    seen: list[int] = []
    async for event in one.watching.people(1):
        if isinstance(event, Transaction):
            if any(getattr(change, "cause", None) is Cause.ROLLOUT_COMPLETED for change in event.changes):
                break
            seen.append(event.revision)
    assert seen == [2, 3]
    assert await _causes(one) == [Cause.ROLLOUT_COMPLETED]


def _told(transaction: watch_pb2.PolicyTransaction) -> tuple[Any, ...]:
    (change,) = transaction.changes
    setting = change.setting
    staged = setting.staged.value.number_value if setting.HasField("staged") else None
    return setting.value.number_value, setting.revision, staged, setting.staged.share_percent
