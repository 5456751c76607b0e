"""What a durable consumer promises: every message handled, one answer each, through every kind of trouble."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import nats
import pytest
from nats.aio.msg import Msg

from mesh.messaging import Message, Messaging, Outgoing, Reject, Retry
from mesh.tasks import TaskSet
from tests.fakes.nats_client import settled
from tests.integration.mesh.messaging.server import WORK_QUEUE, NatsServer, admin, make_durable, make_stream


class Answers:
    """Every answer that goes over the server, as (kind, reply subject)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.news = asyncio.Event()

    async def hear(self, message: Msg) -> None:
        self.seen.append((message.data.decode().split(" ")[0], message.subject))
        self.news.set()

    async def wait(self, count: int) -> list[str]:
        while len(self.seen) < count:
            self.news.clear()
            await self.news.wait()
        return [kind for kind, _ in self.seen]


@pytest.fixture
async def answers(nats_server: NatsServer) -> AsyncIterator[Answers]:
    client = await nats.connect(nats_server.url, max_reconnect_attempts=-1, reconnect_time_wait=0)
    answers = Answers()
    await client.subscribe("$JS.ACK.>", cb=answers.hear)
    await settled(client)
    yield answers
    await client.close()


async def fill(messaging: Messaging, subject: str, count: int) -> None:
    items = [Outgoing(subject, str(n).encode(), f"{subject}-{n}") for n in range(count)]
    assert not any(await messaging.publish_many(items))


async def test_every_message_is_handled_and_acknowledged_exactly_once(
    nats_server: NatsServer, messaging: Messaging, tasks: TaskSet, answers: Answers
) -> None:
    """A missing answer means double work, a second answer is a protocol error."""
    await make_stream(nats_server, "EXACT", "worker", retention=WORK_QUEUE)
    await fill(messaging, "exact.a", 300)
    handled: Counter[str] = Counter()
    busy = most = 0

    async def handle(message: Message) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        handled[message.id] += 1
        busy -= 1

    tasks.spawn(messaging.consume("EXACT", "worker", handle, batch=16, max_in_flight=8), name="consumer")
    assert set(await answers.wait(300)) == {"+ACK"}
    assert set(handled.values()) == {1}
    assert len(handled) == 300
    assert most <= 8
    assert len({reply for _, reply in answers.seen}) == len(answers.seen)


async def test_retry_and_reject_are_told_to_the_server(
    nats_server: NatsServer, messaging: Messaging, tasks: TaskSet, answers: Answers
) -> None:
    """Poison must not block the queue, and a busy dependency must not burn deliveries at full speed."""
    await make_stream(nats_server, "VERDICT", "worker")
    await fill(messaging, "verdict.a", 3)
    seen: list[tuple[bytes, int]] = []

    async def handle(message: Message) -> None:
        seen.append((message.payload, message.deliveries))
        if message.payload == b"0" and message.deliveries == 1:
            raise Retry(timedelta(milliseconds=10))
        if message.payload == b"1":
            raise Reject("cannot be\nread")

    tasks.spawn(messaging.consume("VERDICT", "worker", handle), name="consumer")
    assert Counter(await answers.wait(4)) == {"-NAK": 1, "+TERM": 1, "+ACK": 2}
    assert Counter(payload for payload, _ in seen) == {b"0": 2, b"1": 1, b"2": 1}


async def test_a_handler_that_raises_is_answered_with_a_growing_pause(
    nats_server: NatsServer, messaging: Messaging, tasks: TaskSet
) -> None:
    """A defect must neither lose the message nor spin."""
    await make_stream(nats_server, "DEFECT", "worker")
    client, _ = await admin(nats_server)
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def hear(message: Msg) -> None:
        answer.set_result(message.data)

    await client.subscribe("$JS.ACK.>", cb=hear, max_msgs=1)
    await settled(client)

    async def handle(message: Message) -> None:
        raise ValueError("defect")

    tasks.spawn(messaging.consume("DEFECT", "worker", handle), name="consumer")
    await fill(messaging, "defect.a", 1)
    kind, _, body = (await answer).partition(b" ")
    assert kind == b"-NAK"
    assert 500_000_000 <= json.loads(body)["delay"] <= 1_000_000_000
    await client.close()


async def test_a_consumer_survives_a_killed_server(
    nats_server: NatsServer, messaging: Messaging, tasks: TaskSet
) -> None:
    """Engines restart; services must find them again by themselves and miss nothing."""
    await make_stream(nats_server, "LIVES", "worker")
    handled: set[bytes] = set()
    news = asyncio.Event()

    async def handle(message: Message) -> None:
        handled.add(message.payload)
        news.set()

    tasks.spawn(messaging.consume("LIVES", "worker", handle), name="consumer")
    for start in (0, 50):
        await messaging.wait_connected()
        items = [Outgoing("lives.a", str(n).encode(), f"lives-{n}") for n in range(start, start + 50)]
        assert not any(await messaging.publish_many(items))
        while len(handled) < start + 50:
            news.clear()
            await news.wait()
        if start == 0:
            await nats_server.restart(kill=True)
            while not messaging.connected:
                await asyncio.sleep(0.01)
    assert len(handled) == 100


async def test_a_consumer_waits_for_a_stream_that_is_made_later(
    nats_server: NatsServer, messaging: Messaging, tasks: TaskSet, answers: Answers
) -> None:
    """A service may start before the set-up job has run."""
    done = asyncio.Event()

    async def handle(message: Message) -> None:
        done.set()

    consuming = tasks.spawn(messaging.consume("LATER", "worker", handle), name="consumer")
    await asyncio.sleep(0.1)
    assert not consuming.done()
    await make_stream(nats_server, "LATER")
    await asyncio.sleep(0.1)
    await make_durable(nats_server, "LATER", "worker")
    await fill(messaging, "later.a", 1)
    await done.wait()
    assert await answers.wait(1) == ["+ACK"]


async def test_cancelling_gives_unfinished_messages_back_at_once(
    nats_server: NatsServer, messaging: Messaging, tasks: TaskSet, answers: Answers
) -> None:
    """A replica that is stopped must not make others wait for its time limit."""
    await make_stream(nats_server, "BACK", "worker")
    await fill(messaging, "back.a", 5)
    started = asyncio.Event()

    async def hang(message: Message) -> None:
        started.set()
        await asyncio.Event().wait()

    consuming = tasks.spawn(messaging.consume("BACK", "worker", hang, max_in_flight=2), name="consumer")
    await started.wait()
    consuming.cancel()
    await asyncio.wait([consuming])
    assert consuming.cancelled()
    assert "+ACK" not in await answers.wait(1)
    handled: set[bytes] = set()
    complete = asyncio.Event()

    async def handle(message: Message) -> None:
        handled.add(message.payload)
        if len(handled) == 5:
            complete.set()

    tasks.spawn(messaging.consume("BACK", "worker", handle), name="second")
    await complete.wait()


async def test_stop_finishes_what_is_in_hand(
    nats_server: NatsServer, messaging: Messaging, tasks: TaskSet, answers: Answers
) -> None:
    """A post that is on its way to X is better finished than found in an unknown state."""
    await make_stream(nats_server, "CALM", "worker")
    await fill(messaging, "calm.a", 1)
    stop, started, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(message: Message) -> None:
        started.set()
        await go.wait()

    consuming = tasks.spawn(messaging.consume("CALM", "worker", handle, stop=stop), name="consumer")
    await started.wait()
    stop.set()
    await asyncio.sleep(0)
    assert not consuming.done()
    go.set()
    await consuming
    assert await answers.wait(1) == ["+ACK"]


async def test_slow_work_is_reported_as_in_progress(
    nats_server: NatsServer, messaging: Messaging, tasks: TaskSet, answers: Answers
) -> None:
    """Without it the server hands a slow message to a second worker."""
    await make_stream(nats_server, "SLOW", "worker")
    await fill(messaging, "slow.a", 1)

    async def handle(message: Message) -> None:
        while ("+WPI") not in [kind for kind, _ in answers.seen]:
            await asyncio.sleep(0.01)

    tasks.spawn(
        messaging.consume("SLOW", "worker", handle, ack_wait=timedelta(milliseconds=60)), name="consumer"
    )
    kinds = await answers.wait(2)
    while "+ACK" not in kinds:
        kinds = await answers.wait(len(kinds) + 1)
    assert kinds.count("+ACK") == 1


async def test_batches_are_acknowledged_together_and_can_be_split(
    nats_server: NatsServer, messaging: Messaging, tasks: TaskSet, answers: Answers
) -> None:
    """Ingest commits many messages in one transaction; one bad message must not cost the others."""
    await make_stream(nats_server, "BATCH", "worker")
    await fill(messaging, "batch.a", 120)
    sizes: list[int] = []

    async def handle(messages: Sequence[Message]) -> None:
        sizes.append(len(messages))
        for message in messages:
            if message.payload == b"7":
                await message.reject("poison")

    tasks.spawn(messaging.consume_batches("BATCH", "worker", handle, batch=50), name="consumer")
    assert Counter(await answers.wait(120)) == {"+ACK": 119, "+TERM": 1}
    assert sum(sizes) == 120
    assert max(sizes) <= 50


async def test_a_batch_does_not_wait_for_messages_to_stop_coming(
    nats_server: NatsServer, messaging: Messaging, tasks: TaskSet
) -> None:
    """A steady trickle would otherwise hold up its first message until the batch is full."""
    await make_stream(nats_server, "TRICKLE", "worker")
    handed_over = asyncio.Event()

    async def handle(messages: Sequence[Message]) -> None:
        handed_over.set()

    linger = timedelta(seconds=1)
    consuming = messaging.consume_batches("TRICKLE", "worker", handle, batch=900, linger=linger)
    tasks.spawn(consuming, name="consumer")
    for number in range(300):
        await messaging.publish("trickle.a", b"", message_id=str(number))
        await asyncio.sleep(0.02)
        if handed_over.is_set():
            return
    pytest.fail("nothing was handed over in the time of many lingers")


async def test_a_service_needs_no_permission_but_the_listed_ones(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The list that the server's configuration is made from is complete: nothing here looks up or creates."""
    rules = {
        "publish": [
            "work.>",
            "$JS.API.CONSUMER.MSG.NEXT.WORK.tester",
            "$JS.ACK.WORK.tester.>",
            "$JS.ACK.*.*.WORK.tester.>",
        ],
        "subscribe": ["_INBOX_tester.>"],
    }
    users = [
        {"user": "tester", "password": "tester", "permissions": rules},
        {"user": "root", "password": "root"},
    ]
    server = NatsServer(tmp_path_factory.mktemp("nats"), f"authorization: {json.dumps({'users': users})}")
    await server.start()
    root = await nats.connect(server.url_of("root"))
    acknowledged = asyncio.Event()

    async def hear(message: Msg) -> None:
        acknowledged.set()

    await root.subscribe("$JS.ACK.>", cb=hear)
    js = root.jetstream()
    await js.add_stream(name="WORK", subjects=["work.>"])
    await js.add_consumer("WORK", durable_name="tester")
    async with asyncio.timeout(20), TaskSet() as tasks:
        messaging = Messaging("tester", server.url_of("tester"))
        tasks.spawn(messaging.run(), name="messaging")
        await messaging.wait_connected()
        await messaging.publish("work.a", b"x", message_id="1")

        async def handle(message: Message) -> None:
            return

        tasks.spawn(messaging.consume("WORK", "tester", handle), name="consumer")
        await acknowledged.wait()
    await root.close()
    await server.stop()
