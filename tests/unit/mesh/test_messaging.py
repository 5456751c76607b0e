"""What messaging does without a server: reply subjects, answers, acknowledgements."""

import asyncio

import pytest
from nats.aio.msg import Msg

from mesh.messaging import Message, MessagingUnavailable
from mesh.messaging.acknowledgements import Acknowledgements
from mesh.messaging.consumer import BatchWorker, MessageWorker
from mesh.messaging.message import parse_reply
from mesh.messaging.streams import STREAMS, consumers_of

# nats-server ADR-15: the first form is sent by every server, the second by servers with the longer reply subjects.
V1 = "$JS.ACK.ACTIONS.bot_manager.3.42.7.1700000000000000000.0"
V2 = "$JS.ACK._.hash.ACTIONS.bot_manager.3.42.7.1700000000000000000.0"
V2_TOKEN = f"{V2}.token"


class Server:
    """Remembers the answers."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    async def respond(self, reply: str, body: bytes) -> None:
        self.answers.append(body)


def reply_to(acknowledgements: Acknowledgements, subject: str, body: bytes, status: str = "") -> Msg:
    return Msg(
        _client=None, subject=subject, reply="", data=body, headers={"Status": status} if status else None
    )  # type: ignore[arg-type]  # no client is needed


@pytest.mark.parametrize("reply", [V1, V2, V2_TOKEN])
def test_every_form_of_reply_subject_is_understood(reply: str) -> None:
    """The server changes the form with its version; deliveries drive the back-off."""
    assert parse_reply(reply) == ("ACTIONS", 3, 42)


@pytest.mark.parametrize("reply", ["", "_INBOX.a.b", "$JS.ACK.x", "$JS.API.a.b.c.d.e.f.g"])
def test_any_other_subject_is_refused(reply: str) -> None:
    """An answer to a wrong subject would go to nobody, silently."""
    with pytest.raises(ValueError):
        parse_reply(reply)


async def test_only_the_first_final_answer_leaves() -> None:
    """A second answer to one delivery would be taken for another."""
    server = Server()
    message = Message("a.b", b"", {}, V1, server.respond)
    await message.in_progress()
    await message.reject("no\r\nuse " + "x" * 500)
    await message.ack()
    await message.in_progress()
    assert [answer[:12] for answer in server.answers] == [b"+WPI", b"+TERM no use"]
    assert len(server.answers[1]) < 250
    assert message.answered


async def test_a_message_without_an_id_is_known_by_its_place() -> None:
    """Consumers remember what they have done by the id."""
    server = Server()
    assert Message("a.b", b"", {}, V1, server.respond).id == "ACTIONS:42"
    assert Message("a.b", b"", {"Nats-Msg-Id": "x"}, V1, server.respond).id == "x"


async def test_a_lost_connection_ends_every_wait_at_once() -> None:
    """nats-py leaves futures pending for ever when the server goes away."""
    acknowledgements = Acknowledgements("_INBOX_t.x")
    waits = [acknowledgements.expect() for _ in range(3)]
    acknowledgements.fail_all("gone")
    for reply, future in waits:
        with pytest.raises(MessagingUnavailable):
            await future
        acknowledgements.forget(reply)
    assert len(acknowledgements) == 0


@pytest.mark.parametrize(
    ("body", "status"), [(b"", "503"), (b"not json", ""), (b'{"error":{"err_code":10077}}', "")]
)
async def test_anything_but_an_acknowledgement_is_a_failure(body: bytes, status: str) -> None:
    """Taking a refusal for success would lose the message."""
    acknowledgements = Acknowledgements("_INBOX_t.x")
    reply, future = acknowledgements.expect()
    await acknowledgements.receive(reply_to(acknowledgements, reply, body, status))
    with pytest.raises(MessagingUnavailable):
        await future
    acknowledgements.forget(reply)


async def test_a_late_acknowledgement_meets_nobody() -> None:
    """The caller gave up and published again."""
    acknowledgements = Acknowledgements("_INBOX_t.x")
    reply, future = acknowledgements.expect()
    acknowledgements.forget(reply)
    await acknowledgements.receive(reply_to(acknowledgements, reply, b'{"stream":"A","seq":1}'))
    assert future.cancelled()


def test_bounds_of_workers_are_checked() -> None:
    """Zero in flight would stand still for ever."""

    async def handle(_: object) -> None:
        await asyncio.sleep(0)

    from mesh.messaging.consumer import ACK_WAIT, LINGER

    with pytest.raises(ValueError, match="at least 1"):
        MessageWorker(handle, 1, 0, ACK_WAIT)
    with pytest.raises(ValueError, match="at least 1"):
        BatchWorker(handle, 0, LINGER, ACK_WAIT)


def test_streams_fit_their_declared_roles() -> None:
    """Logs and audit must refuse when full, so that producers keep what they cannot store; a queue may not forget by age."""
    specs = {spec.name: spec for spec in STREAMS}
    assert {specs[name].discard for name in ("LOGS", "AUDIT", "ACTIONS")} == {"new"}
    assert specs["ACTIONS"].config().max_age == 0
    assert all(spec.duplicate_window <= spec.max_age or not spec.max_age for spec in STREAMS)


def test_consumers_follow_the_subjects_of_a_service() -> None:
    """One durable a stream, named like the service: the permissions are made from the same rule."""
    logs, audit = consumers_of("logging", ["logs.*", "audit.*"])
    assert (logs.stream, logs.durable, logs.config().filter_subject) == ("LOGS", "logging", "logs.*")
    assert (audit.stream, audit.config().max_deliver) == ("AUDIT", -1)
    with pytest.raises(ValueError, match=r"hints\.x"):
        consumers_of("logging", ["hints.x"])
