"""What a receiver gets, what happens when it does not take it, and who else is disturbed by that."""

import asyncio
import json
from datetime import timedelta

import pytest
from google.protobuf.json_format import Parse
from sqlalchemy import text

from mesh.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from mesh.ids import new_id
from services.bot_manager.domain.happenings import EventType, Happening, app_changed
from services.bot_manager.domain.watching import Place
from services.bot_manager.domain.webhooks import FAILURES_BEFORE_REST, DeliveryState, WebhookState
from services.bot_manager.events.announcing import announce
from services.bot_manager.events.reading import StoredEvents
from services.bot_manager.events.ticks import Ticks
from services.bot_manager.webhooks.cases import WebhookDraft
from services.bot_manager.webhooks.sending import AT_ONCE_PER_WEBHOOK, LEASE
from tests.integration.services.bot_manager.conftest import NOW, AddBot, AddPost
from tests.integration.services.bot_manager.webhooks.conftest import Rig, is_signed
from vivesphere.bot_manager.v1 import event_pb2

DAY = timedelta(days=1)


async def test_a_receiver_gets_a_signed_event(rig: Rig, add_bot: AddBot, add_post: AddPost) -> None:
    """What arrives is the contract's Event, whole, and nobody but us could have signed it."""
    webhook, secret = await rig.webhook(types=frozenset({EventType.POST_CREATED}))
    post = await add_post(await add_bot(), "hello")
    await rig.replicas[0].maker.step()
    [delivery] = await rig.settled(webhook, 1)
    [(headers, body)] = rig.receiver.calls
    event = Parse(body, event_pb2.Event())
    assert (event.post_id, event.type) == (post.id, event_pb2.EVENT_TYPE_POST_CREATED)
    assert is_signed(headers, body, secret)
    assert not is_signed(headers, body + b" ", secret)
    assert not is_signed(headers, body, secret + "x")
    assert headers["vivesphere-delivery"] == delivery.id
    assert headers["vivesphere-event-id"] == event.id
    assert headers["vivesphere-event"] == "POST_CREATED"
    assert headers["content-type"] == "application/json"
    assert delivery.state is DeliveryState.DELIVERED
    [attempt] = delivery.attempts
    assert (attempt.http_status, attempt.error, len(attempt.response_excerpt)) == (200, "", 1024)


async def test_the_secret_is_never_in_the_database(rig: Rig) -> None:
    """A copy of the database signs nothing."""
    _, secret = await rig.webhook()
    async with rig.database.read() as connection:
        row = (await connection.execute(text("SELECT webhooks::text FROM webhooks"))).scalar_one()
    assert secret not in row
    assert "sealed:0" in row


async def test_a_webhook_gets_what_it_asks_for_from_its_making_on(rig: Rig, add_bot: AddBot) -> None:
    """Neither what was before, nor other types, nor other bots."""
    await rig.happen("before")
    wanted, other = await add_bot("wanted"), await add_bot("other")
    webhook, _ = await rig.webhook(
        types=frozenset({EventType.BOT_UPDATED, EventType.BOT_STATE_CHANGED}), bot_ids=frozenset({wanted.id})
    )
    async with rig.database.transaction() as connection:
        for bot in (other, wanted):
            for kind in (EventType.BOT_UPDATED, EventType.BOT_DELETED):
                await announce(connection, NOW, Happening(kind, f"{kind} of {bot.handle}", bot.id))
    await rig.replicas[0].maker.step()
    await rig.settled(webhook, 1)
    assert rig.receiver.messages == ["BOT_UPDATED of wanted"]


async def test_what_is_not_taken_is_sent_again_with_the_same_ids(rig: Rig) -> None:
    """At least once: a receiver that was away for a moment misses nothing, and can tell a repeat."""
    webhook, _ = await rig.webhook()
    rig.receiver.answers = [500, 302]
    await rig.happen("a")
    [delivery] = await rig.settled(webhook, 1)
    assert (delivery.state, delivery.due_time) == (
        DeliveryState.PENDING,
        rig.clock.now() + timedelta(seconds=10),
    )
    await rig.clock.advance(timedelta(seconds=10))
    await rig.settled(webhook, 2)
    await rig.clock.advance(timedelta(seconds=30))
    [delivery] = await rig.settled(webhook, 3)
    assert delivery.state is DeliveryState.DELIVERED
    assert [one.error for one in delivery.attempts] == [
        "it answered 500",
        "it answered 302; redirects are not followed",
        "",
    ]
    assert [headers["vivesphere-attempt"] for headers, _ in rig.receiver.calls] == ["1", "2", "3"]
    for name in ("vivesphere-delivery", "vivesphere-event-id"):
        assert len({headers[name] for headers, _ in rig.receiver.calls}) == 1
    assert len({body for _, body in rig.receiver.calls}) == 1


async def test_after_a_day_a_delivery_is_given_up_and_can_be_sent_again(rig: Rig) -> None:
    """Nothing is tried for ever, and nothing is lost: the event is in the log, and a person can have it sent."""
    webhook, _ = await rig.webhook()
    rig.receiver.answers = [503] * 100
    await rig.happen("a")
    attempts = 1
    while (log := await rig.settled(webhook, attempts))[0].state is DeliveryState.PENDING:
        await rig.clock.advance(log[0].due_time - rig.clock.now())
        await rig.clock.advance(timedelta(minutes=5))
        attempts += 1
    [first] = log
    assert first.state is DeliveryState.FAILED
    assert DAY - timedelta(hours=4) < first.end_time - first.create_time <= DAY + timedelta(hours=1)
    assert 8 <= len(first.attempts) <= 20
    rig.receiver.answers = []
    again = await rig.webhooks.replay(first.id)
    await rig.clock.advance(timedelta(minutes=5))
    log = await rig.settled(webhook, attempts + 1)
    assert [one.state for one in log] == [DeliveryState.FAILED, DeliveryState.DELIVERED]
    assert (log[1].id, log[1].replay_of, log[1].event_id) == (again.id, first.id, first.event_id)


async def test_a_dead_address_delays_nobody_else(rig: Rig) -> None:
    """One customer's endpoint hangs; another's gets everything, and hanging calls are few."""
    rig.receiver.hold = asyncio.Event()
    hanging, _ = await rig.webhook()
    healthy, _ = await rig.webhook(url=f"{rig.receiver.url}?healthy")
    await rig.happen(*(str(number) for number in range(20)))
    assert {one.state for one in await rig.settled(healthy, 20)} == {DeliveryState.DELIVERED}
    assert len(rig.receiver.calls) == 20 + AT_ONCE_PER_WEBHOOK
    rig.receiver.hold.set()
    assert {one.state for one in await rig.settled(hanging, 20)} == {DeliveryState.DELIVERED}


async def test_an_address_that_takes_nothing_rests_and_at_last_is_given_up(rig: Rig) -> None:
    """A dead address costs a call now and then, and after days none; those who watch hear of it."""
    webhook, _ = await rig.webhook()
    rig.receiver.answers = [500] * 1000
    place = Place((await Ticks(rig.database).tick()).number)
    await rig.happen(*(str(number) for number in range(6)))

    async def rests() -> bool:
        # More than five, if one more call had begun before the first failure was written.
        found = await rig.store.get(webhook.id)
        return found.rest_end_time is not None and found.failure_count >= FAILURES_BEFORE_REST

    await rig.until(rests)
    await rig.clock.advance(timedelta(days=6))

    async def is_disabled() -> bool:
        return (await rig.store.get(webhook.id)).state is WebhookState.DISABLED

    await rig.until(is_disabled)
    found = await rig.store.get(webhook.id)
    assert found.state_message.endswith("the last answer: it answered 500")
    await Ticks(rig.database).tick()
    told = [one.event for one in (await StoredEvents(rig.database).after(place)).told]
    assert told[-1].type is EventType.WEBHOOK_DISABLED
    assert told[-1].webhook_id == webhook.id
    rig.receiver.answers = []
    draft = WebhookDraft(rig.receiver.url, state=WebhookState.ACTIVE)
    again = await rig.webhooks.update(webhook.id, "", lambda stored: draft)
    assert (again.state, again.state_message, again.failure_count) == (WebhookState.ACTIVE, "", 0)
    await rig.happen("after")

    async def told_again() -> bool:
        return "after" in rig.receiver.messages

    await rig.until(told_again)


async def test_two_replicas_make_each_attempt_once(rig: Rig) -> None:
    """Many events, two processes: every delivery is made once and called once."""
    other = await rig.replica()
    webhook, _ = await rig.webhook()
    await rig.happen()
    async with rig.database.transaction() as connection:
        await announce(connection, NOW, *(app_changed(new_id(), str(number)) for number in range(60)))
    await asyncio.gather(rig.replicas[0].maker.step(), other.maker.step())
    await rig.replicas[0].maker.step()
    await rig.settled(webhook, 60)
    assert sorted(map(int, rig.receiver.messages)) == list(range(60))


async def test_a_process_that_dies_after_the_call_leaves_it_to_be_made_again(rig: Rig) -> None:
    """Nobody knows whether the receiver took it, so it is told twice, under the same id, and not never."""
    webhook, _ = await rig.webhook()
    rig.receiver.hold = asyncio.Event()
    await rig.happen("a")

    async def is_called() -> bool:
        return len(rig.receiver.calls) == 1

    await rig.until(is_called)
    await rig.replicas.pop(0).tasks.close()
    rig.receiver.hold.set()
    await rig.replica()
    await rig.clock.advance(LEASE)
    [delivery] = await rig.settled(webhook, 1)
    assert delivery.state is DeliveryState.DELIVERED
    assert (delivery.attempt_count, [one.number for one in delivery.attempts]) == (2, [2])
    assert len({headers["vivesphere-delivery"] for headers, _ in rig.receiver.calls}) == 1


async def test_during_a_change_of_the_secret_both_are_good(rig: Rig) -> None:
    """A receiver changes its copy whenever it likes within the overlap, and refuses nothing."""
    webhook, old = await rig.webhook()
    rotated, secret = await rig.webhooks.rotate(webhook.id, "", None)
    new = secret.reveal()
    assert new != old
    await rig.happen("during")
    await rig.settled(webhook, 1)
    await rig.clock.advance(DAY)
    await rig.happen("after")
    await rig.settled(webhook, 2)
    (during, first_body), (after, second_body) = rig.receiver.calls
    assert is_signed(during, first_body, old)
    assert is_signed(during, first_body, new)
    assert is_signed(after, second_body, new)
    assert not is_signed(after, second_body, old)
    with pytest.raises(InvalidArgument):
        await rig.webhooks.rotate(webhook.id, "", rig.clock.now() + timedelta(days=8))
    assert rotated.previous_secret_end_time is not None


async def test_while_the_vault_is_sealed_deliveries_wait_and_none_is_lost(rig: Rig) -> None:
    """Nothing goes out unsigned, and a wait for the vault is no failure of the receiver."""
    webhook, secret = await rig.webhook()
    rig.vault.sealed = True
    await rig.happen("a")

    async def is_put_off() -> bool:
        [delivery] = await rig.log(webhook)
        return delivery.due_time is not None and delivery.due_time > rig.clock.now() + timedelta(seconds=20)

    await rig.until(is_put_off)
    rig.vault.sealed = False
    await rig.clock.advance(LEASE)
    await rig.settled(webhook, 1)
    [(headers, body)] = rig.receiver.calls
    assert is_signed(headers, body, secret)
    rig.vault.sealed = True
    with pytest.raises(Unavailable):
        await rig.webhook()
    assert len(await rig.webhooks.list("", 10)) == 1


async def test_a_webhook_can_be_tried(rig: Rig) -> None:
    """Whoever sets one up sees at once whether it works, even while it is paused; a refusal is an answer."""
    webhook, secret = await rig.webhook(state=WebhookState.PAUSED)
    good = await rig.webhooks.test(webhook.id, "u1")
    assert good.state is DeliveryState.DELIVERED
    [(headers, body)] = rig.receiver.calls
    assert json.loads(body)["type"] == "EVENT_TYPE_WEBHOOK_TEST"
    assert is_signed(headers, body, secret)
    rig.receiver.answers = [401]
    bad = await rig.webhooks.test(webhook.id, "u1")
    assert (bad.state, bad.attempts[0].error) == (DeliveryState.FAILED, "it answered 401")
    assert [one.state for one in await rig.log(webhook)] == [DeliveryState.DELIVERED, DeliveryState.FAILED]
    with pytest.raises(FailedPrecondition):
        await rig.webhooks.replay(good.id)
    rig.vault.sealed = True
    await rig.clock.advance(DAY)
    with pytest.raises(Unavailable):
        await rig.webhooks.test(webhook.id, "u1")
    assert [one.state for one in await rig.log(webhook)][2:] == [DeliveryState.FAILED]


async def test_addresses_that_are_not_public_are_not_called(rig: Rig) -> None:
    """A webhook must not become a way to reach what stands beside the service; its log says why it was not called."""
    webhook, _ = await rig.webhook()
    rig.settings.allow_private = False
    delivery = await rig.webhooks.test(webhook.id, "u1")
    assert delivery.attempts[0].error == "it cannot be reached: the address is not a public one"
    rig.settings.allow_private, rig.settings.allow_http = True, False
    delivery = await rig.webhooks.test(webhook.id, "u1")
    assert delivery.attempts[0].error == "the URL must begin with https://"
    with pytest.raises(InvalidArgument):
        await rig.webhook()
    assert rig.receiver.calls == []


async def test_a_receiver_that_says_nothing_in_time_has_not_taken_it(rig: Rig) -> None:
    """A call never hangs longer than the setting."""
    webhook, _ = await rig.webhook()
    rig.settings.timeout, rig.receiver.hold = 0.05, asyncio.Event()
    delivery = await rig.webhooks.test(webhook.id, "u1")
    assert delivery.attempts[0].error == "no answer within 0.05 seconds"


async def test_there_are_not_endlessly_many_webhooks(rig: Rig) -> None:
    """Each one costs a row and a call for each event."""
    for _ in range(3):
        await rig.webhook()
    with pytest.raises(FailedPrecondition):
        await rig.webhook()


async def test_a_deleted_webhook_takes_its_log_with_it(rig: Rig) -> None:
    """What waits is not sent."""
    webhook, _ = await rig.webhook()
    await rig.happen("a")
    [delivery] = await rig.settled(webhook, 1)
    await rig.webhooks.delete(webhook.id, "")
    with pytest.raises(NotFound):
        await rig.webhooks.replay(delivery.id)
    with pytest.raises(NotFound):
        await rig.webhooks.delete(webhook.id, "")


async def test_events_that_are_gone_before_they_were_turned_into_deliveries_stop_nothing(rig: Rig) -> None:
    """A service that was off for longer than events are kept goes on with what happens now."""
    webhook, _ = await rig.webhook()
    await rig.happen("a")
    async with rig.database.transaction() as connection:
        await connection.execute(text("DELETE FROM event_ticks"))
    await rig.happen("lost")
    await rig.happen("b")
    await rig.settled(webhook, 2)
    assert sorted(rig.receiver.messages) == ["a", "b"]
