"""What publishing promises: stored or raised, soon, and never twice."""

import asyncio
from datetime import timedelta

import nats
import pytest
from nats.errors import Error as NatsError

from mesh.errors import InvalidArgument, OutOfRange
from mesh.ids import new_id
from mesh.messaging import Messaging, MessagingUnavailable, Outgoing
from mesh.messaging.streams import STREAMS, consumers_of, ensure
from mesh.tasks import TaskSet
from tests.integration.mesh.messaging.conftest import QUICK
from tests.integration.mesh.messaging.server import NatsServer, admin, free_port, make_stream

SHORT = timedelta(seconds=1)


async def test_a_repeated_message_id_is_stored_once(nats_server: NatsServer, messaging: Messaging) -> None:
    """Unknown outcomes are resolved by publishing again, so the second copy must vanish."""
    await make_stream(nats_server, "ONCE")
    for _ in range(3):
        await messaging.publish("once.a", b"x", message_id="same")
    client, js = await admin(nats_server)
    assert (await js.stream_info("ONCE")).state.messages == 1
    await client.close()


async def test_a_subject_that_no_stream_stores_is_unavailable(messaging: Messaging) -> None:
    """Between start and set-up streams are missing; outboxes must wait, not lose."""
    with pytest.raises(MessagingUnavailable) as caught:
        await messaging.publish("nowhere.at.all", b"x", message_id=new_id())
    assert caught.value.reason == "MESSAGING_UNAVAILABLE"


async def test_a_full_stream_refuses_with_its_code(nats_server: NatsServer, messaging: Messaging) -> None:
    """Producers of logs spool when the stream is full; they have to be told (10077)."""
    await make_stream(nats_server, "TIGHT", max_msgs=1, discard="new")
    await messaging.publish("tight.a", b"x", message_id="1")
    with pytest.raises(MessagingUnavailable) as caught:
        await messaging.publish("tight.a", b"x", message_id="2")
    assert caught.value.metadata["errorCode"] == "10077"


async def test_what_can_never_be_sent_is_told_apart_from_what_must_wait(messaging: Messaging) -> None:
    """A message that is too large would be retried for ever if it looked like an outage."""
    with pytest.raises(OutOfRange):
        await messaging.publish("once.a", b"x" * (1 << 20), message_id="large")
    with pytest.raises(InvalidArgument):
        await messaging.publish("bad subject", b"x", message_id="subject")


async def test_without_nats_a_process_starts_and_publishing_fails_at_once(tasks: TaskSet) -> None:
    """Nothing waits for another part of the mesh to come up."""
    messaging = Messaging("tester", f"nats://127.0.0.1:{free_port()}", backoff=QUICK)
    tasks.spawn(messaging.run(), name="messaging")
    await asyncio.sleep(0)
    with pytest.raises(MessagingUnavailable):
        await messaging.publish("once.a", b"x", message_id="1", timeout=timedelta(hours=1))
    with pytest.raises(MessagingUnavailable):
        await messaging.check()
    await messaging.hint("hints.anything", b"x")


async def test_many_messages_survive_a_killed_server_without_loss_or_copy(
    nats_server: NatsServer, messaging: Messaging
) -> None:
    """The crash in the middle of a batch is where nats-py's own pipelining hangs; outcomes must still be known or retried."""
    await make_stream(nats_server, "CRASH")
    items = [Outgoing("crash.a", bytes([n % 256]) * 100, f"crash-{n}") for n in range(2000)]
    first = asyncio.ensure_future(messaging.publish_many(items, timeout=timedelta(seconds=5)))
    await asyncio.sleep(0.02)
    await nats_server.restart(kill=True)
    outcomes = await first
    missing = [item for item, outcome in zip(items, outcomes, strict=True) if outcome is not None]
    assert missing, "the server was killed too late to matter"
    while missing:
        await messaging.wait_connected()
        outcomes = await messaging.publish_many(missing)
        missing = [item for item, outcome in zip(missing, outcomes, strict=True) if outcome is not None]
    client, js = await admin(nats_server)
    assert (await js.stream_info("CRASH")).state.messages == len(items)
    await client.close()


async def test_hints_arrive_and_are_heard_again_after_a_reconnect(
    nats_server: NatsServer, messaging: Messaging
) -> None:
    """Hints shorten the wait for a new revision; a subscription lost with the connection would make everything slow for ever."""
    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def hear(subject: str, payload: bytes) -> None:
        heard.put_nowait((subject, payload))
        raise ValueError("a callback's defect is its own")

    end = await messaging.subscribe_hint("hints.test", hear)
    await messaging.hint("hints.test", b"1")
    assert await heard.get() == ("hints.test", b"1")
    await nats_server.restart()
    await messaging.wait_connected()
    await messaging.hint("hints.test", b"2")
    assert await heard.get() == ("hints.test", b"2")
    await end()


async def test_the_declared_streams_can_be_made_and_made_again(nats_server: NatsServer) -> None:
    """The set-up job runs on every start."""
    client = await nats.connect(nats_server.url)
    js = client.jetstream()
    consumers = [*consumers_of("logging", ("logs.*", "audit.*")), *consumers_of("bots", ("actions.bots.>",))]
    for _ in range(2):
        await ensure(js, STREAMS, consumers)
    assert {stream.config.name for stream in await js.streams_info()} >= {spec.name for spec in STREAMS}
    assert (await js.consumer_info("AUDIT", "logging")).config.filter_subject == "audit.*"
    for spec in STREAMS:
        await js.delete_stream(spec.name)
    await client.close()


async def test_what_is_kept_as_evidence_can_be_read_back(
    nats_server: NatsServer, messaging: Messaging
) -> None:
    """All of it and in order, over as many questions as it takes; the newest alone; and nothing of another subject."""
    await make_stream(nats_server, "KEPT", allow_direct=True)
    assert [found async for found in messaging.read("KEPT", "kept.a")] == []
    assert await messaging.read_last("KEPT", "kept.a") is None
    for subject, count in (("kept.a", 1_100), ("kept.b", 1)):
        outcomes = await messaging.publish_many(
            [Outgoing(subject, b"%d" % n, f"{subject}-{n}") for n in range(count)]
        )
        assert outcomes == [None] * count
    pages = [found async for found in messaging.read("KEPT", "kept.a")]
    payloads = [item.payload for page in pages for item in page]
    assert sorted(payloads) == sorted(b"%d" % n for n in range(1_100))
    assert [item.sequence for page in pages for item in page] == list(range(1, 1_101))
    assert len(pages) > 1
    last = await messaging.read_last("KEPT", "kept.a")
    assert last is not None
    assert last.payload == payloads[-1]
    with pytest.raises(MessagingUnavailable):
        await messaging.read_last("NONE", "kept.a")
    away = Messaging("tester", nats_server.url)
    with pytest.raises(MessagingUnavailable):
        await away.read_last("KEPT", "kept.a")


async def test_a_cancelled_publish_is_cancelled(nats_server: NatsServer, messaging: Messaging) -> None:
    """nats-py swallows cancellation while flushing; a task that cannot be stopped holds up shutdown."""
    await make_stream(nats_server, "STOP")
    publishing = asyncio.ensure_future(messaging.publish("stop.a", b"x", message_id="1"))
    await asyncio.sleep(0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing


async def test_a_tls_address_never_becomes_clear_text(nats_server: NatsServer, tasks: TaskSet) -> None:
    """nats-py would go on in clear text if the server, or somebody in between, does not ask for TLS."""
    from mesh.messaging.client import open_client

    async def ignore(*_: object) -> None:
        return

    import ssl

    with pytest.raises((NatsError, OSError)):
        await open_client(
            [nats_server.url], "tester", "_INBOX_t", ssl.create_default_context(), "nats", ignore, ignore
        )
