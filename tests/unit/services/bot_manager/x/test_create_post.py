"""Creating posts through the adapter: each thing that can go wrong has its one outcome, and nothing is ever sent twice."""

import asyncio
import logging
import socket
from datetime import timedelta

import pytest

from mesh.clock import SystemClock
from mesh.secret import Secret
from services.bot_manager.domain.outcomes import Outcome, OutcomeKind
from services.bot_manager.x.http import MAX_BODY_BYTES
from services.bot_manager.x.port import OAuth1Credentials, XPoll, XPostDraft
from services.bot_manager.x.tweepy_port import TweepyPort
from tests.unit.services.bot_manager.x.conftest import Sandbox

K = OutcomeKind
KEYS = OAuth1Credentials(*(Secret(name) for name in ("a", "b", "c", "d")))
HELLO = XPostDraft("hello")

FAULTS = [
    ("timeout_before", K.UNKNOWN, 0),
    ("timeout_after", K.UNKNOWN, 1),
    ("reset_before", K.UNKNOWN, 0),
    ("reset_after", K.UNKNOWN, 1),
    ("error_500_before", K.UNKNOWN, 0),
    ("error_500_after", K.UNKNOWN, 1),
    ("html_502", K.UNKNOWN, 0),
    ("no_id", K.UNKNOWN, 1),
    ("slow", K.UNKNOWN, 1),
    ("rate_limited", K.RATE_LIMITED, 0),
    ("credits_depleted", K.CREDITS_DEPLETED, 0),
    ("duplicate", K.DUPLICATE, 0),
]


async def post_to(url: str, seconds: float = 0.4) -> Outcome:
    port = TweepyPort(url, request_timeout=lambda: timedelta(seconds=seconds), clock=SystemClock())
    try:
        return await port.create_post(KEYS, HELLO)
    finally:
        await port.close()


async def test_a_post_arrives_as_it_was_written(x: TweepyPort, sandbox: Sandbox) -> None:
    """The signature is verified for real, so this is a request as X accepts it."""
    _, keys = await sandbox.account()
    text = 'Grüße & "100%" <b> 日本 👩‍👩‍👧 ?a=b+c'
    outcome = await x.create_post(keys, XPostDraft(text))
    assert outcome.kind is K.PUBLISHED
    assert outcome.http_status == 201
    assert outcome.rate_limits["x-rate-limit-remaining"] == "99"
    assert timedelta() < outcome.latency < timedelta(seconds=1)
    shown = await sandbox.posts()
    assert [(post["id"], post["text"]) for post in shown] == [(outcome.x_post_id, text)]


async def test_replies_polls_and_declarations_are_understood(x: TweepyPort, sandbox: Sandbox) -> None:
    """X refuses unknown fields, so accepted means right."""
    _, keys = await sandbox.account()
    first = await x.create_post(keys, HELLO)
    poll = XPoll(("yes", "no"), timedelta(hours=1))
    second = await x.create_post(
        keys,
        XPostDraft("poll", reply_to=first.x_post_id, poll=poll, reply_settings="verified", made_with_ai=True),
    )
    assert second.kind is K.PUBLISHED
    shown = {post["id"]: post for post in await sandbox.posts()}[second.x_post_id]
    assert shown["in_reply_to"] == first.x_post_id
    assert shown["poll"] == {"options": ["yes", "no"], "duration_minutes": 60}


@pytest.mark.parametrize(("fault", "kind", "stored"), FAULTS)
async def test_every_mishap_has_its_outcome(
    x: TweepyPort, sandbox: Sandbox, fault: str, kind: OutcomeKind, stored: int
) -> None:
    """What cannot be told apart from here, stored or not, must be UNKNOWN in both cases."""
    _, keys = await sandbox.account()
    await sandbox.fault(fault)
    assert (await x.create_post(keys, HELLO)).kind is kind
    assert len(await sandbox.posts()) == stored


async def test_a_limit_says_when_it_ends(x: TweepyPort, sandbox: Sandbox) -> None:
    """The pause comes from X, not from us."""
    _, keys = await sandbox.account()
    await sandbox.fault("rate_limited", seconds=30)
    pause = (await x.create_post(keys, HELLO)).pause
    assert pause is not None
    assert timedelta(seconds=29) < pause <= timedelta(seconds=32)


async def test_wrong_keys_are_told_as_such(x: TweepyPort, sandbox: Sandbox) -> None:
    """The bot needs a person, the post does not."""
    await sandbox.account()
    outcome = await x.create_post(KEYS, HELLO)
    assert (outcome.kind, outcome.http_status) == (K.CREDENTIALS_REJECTED, 401)


async def test_a_refusal_keeps_x_s_words(x: TweepyPort, sandbox: Sandbox) -> None:
    """They are what the author of the post has to read."""
    _, keys = await sandbox.account()
    outcome = await x.create_post(keys, XPostDraft("x" * 281))
    assert (outcome.kind, outcome.problem_type) == (K.REJECTED, "invalid-request")
    assert "too long" in outcome.detail


async def test_nobody_listening_means_not_sent() -> None:
    """Not a byte has left, so it may go again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (await post_to(f"http://127.0.0.1:{port}")).kind is K.NOT_SENT


async def test_a_name_that_does_not_resolve_means_not_sent() -> None:
    """So does a resolver that fails."""
    assert (await post_to("http://x.invalid", 5)).kind is K.NOT_SENT


async def test_a_connection_that_does_not_come_about_means_not_sent() -> None:
    """A full backlog swallows connection attempts without an answer."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = [socket.socket() for _ in range(3)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        outcome = await post_to(f"http://127.0.0.1:{full.getsockname()[1]}")
        for other in others:
            other.close()
    assert outcome.kind is K.NOT_SENT
    assert outcome.detail == "no connection in time"


async def test_tls_that_fails_means_not_sent(sandbox: Sandbox) -> None:
    """The request follows the handshake."""
    assert (await post_to(sandbox.url.replace("http://", "https://"))).kind is K.NOT_SENT


RAW = [
    (b"HTTP/1.1 201 Created\r\nContent-Length: 50\r\n\r\n" + b'{"data":{"id":"1"', K.UNKNOWN),
    (b"HTTP/1.1 201 Created\r\nContent-Le", K.UNKNOWN),
    (b"nonsense\r\n\r\n", K.UNKNOWN),
    (b"", K.UNKNOWN),
    (b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n", K.UNKNOWN),
    (b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", K.UNKNOWN),
    (b'HTTP/1.1 201 Created\r\nContent-Length: 19\r\n\r\n{"data":{"id":"1"}}', K.PUBLISHED),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b" " * (MAX_BODY_BYTES + 1), K.UNKNOWN),
]


@pytest.mark.parametrize(("answer", "kind"), RAW)
async def test_half_an_answer_is_of_unknown_outcome_and_the_request_is_sent_once(
    answer: bytes, kind: OutcomeKind
) -> None:
    """Wherever the answer breaks off, X has had the request; neither a retry nor a redirect may send it again."""
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        head = await reader.readuntil(b"\r\n\r\n")
        requests += head.startswith(b"POST ")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        outcome = await post_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 2)
    assert (outcome.kind, requests) == (kind, 1)


async def test_hundreds_of_calls_are_in_flight_at_once(sandbox: Sandbox) -> None:
    """X is the slow part; waiting for it one by one would cap a worker at a few posts a second."""
    accounts = [await sandbox.account(f"bot{number}") for number in range(4)]
    await sandbox.fault("slow", count=200, seconds=0.5)
    x = TweepyPort(sandbox.url, request_timeout=lambda: timedelta(seconds=20), clock=SystemClock())
    async with asyncio.timeout(15):
        outcomes = await asyncio.gather(
            *(x.create_post(accounts[n % 4][1], XPostDraft(f"post {n}")) for n in range(200))
        )
    await x.close()
    assert {outcome.kind for outcome in outcomes} == {K.PUBLISHED}
    assert len({outcome.x_post_id for outcome in outcomes}) == len(await sandbox.posts()) == 200


def test_credentials_never_show() -> None:
    """A traceback or a log of an object must not hold them."""
    assert "Secret(****)" in repr(KEYS)
    fields = {"consumer_key": "canary", "consumer_secret": "canary", "access_token": "canary"}
    with pytest.raises(ValueError, match="access_token_secret") as error:
        OAuth1Credentials.from_fields(fields)
    assert "canary" not in str(error.value)


def test_loggers_of_libraries_that_print_tokens_are_quiet() -> None:
    """Their DEBUG lines hold Authorization headers."""
    for name in ("tweepy", "tweepy.asynchronous.client", "oauthlib", "oauthlib.oauth1.rfc5849"):
        assert logging.getLogger(name).getEffectiveLevel() >= logging.INFO
