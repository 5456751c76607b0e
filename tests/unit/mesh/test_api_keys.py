"""API keys: a form that can be judged offline, and answers that are remembered shortly, shared, and dropped when they may be wrong."""

import asyncio
import string
import zlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.context import Call, Principal, current_call, set_call
from mesh.errors import Internal, ResourceExhausted, Unauthenticated, Unavailable
from mesh.identity.api_keys import api_key_hash, is_well_formed, new_api_key
from mesh.identity.key_resolving import LONGEST_MEMORY, Introspection, RememberedKeys
from mesh.identity.revocations import Revocations
from mesh.redaction.redactor import redactor
from mesh.tasks import TaskSet
from tests.fakes.clock import START, ManualClock, settle
from tests.fakes.revocations import Script, entry, heartbeat, snapshot
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1.revocation_pb2 import (
    REVOCATION_KIND_API_KEY,
    REVOCATION_KIND_SESSION,
    REVOCATION_KIND_USER,
)

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def test_a_new_key_has_the_published_form() -> None:
    """Scanners and users rely on it: prefix, 43 characters, checksum; no two alike."""
    keys = {new_api_key() for _ in range(200)}
    assert len(keys) == 200
    for key in keys:
        assert (key[:4], len(key), set(key[4:]) <= set(BASE62)) == ("vsk_", 53, True)
        assert is_well_formed(key)
        assert redactor.text(f"used {key} today") == "used [REDACTED] today"


def test_the_checksum_is_crc_32_in_base_62() -> None:
    """Fixed for ever: an implementation of somebody else must come to the same. The key of 256 zero bits."""
    key = "vsk_00000000000000000000000000000000000000000001BAKYq"
    assert is_well_formed(key)
    number = 0
    for digit in key[-6:]:
        number = number * 62 + BASE62.index(digit)
    assert number == zlib.crc32(key[:-6].encode())


@pytest.mark.parametrize("position", range(53))
def test_one_mistyped_character_is_noticed(position: int) -> None:
    """CRC-32 finds every change of up to 32 bits in a row."""
    key = new_api_key()
    other = "b" if key[position] == "a" else "a"
    assert not is_well_formed(key[:position] + other + key[position + 1 :])


@pytest.mark.parametrize("change", [str.upper, str.lower, str.swapcase, lambda k: k + "0", lambda k: k[:-1]])
def test_other_spellings_are_other_texts(change: Any) -> None:
    """A key has one spelling."""
    assert not is_well_formed(change(new_api_key()))


@given(st.text(max_size=80) | st.from_regex(r"\Avsk_[0-9A-Za-z]{49}\Z"))
def test_no_text_is_a_key_by_chance(text: str) -> None:
    """Rubbish is told apart without an error, and without a look-up (one text in four billion has a right checksum)."""
    assert not is_well_formed(text)
    assert len(api_key_hash(text)) == 32


class Directory:
    """A resolver that counts, waits and fails as told."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Principal | Exception | None = principal()
        self.open = asyncio.Event()
        self.open.set()

    async def resolve(self, key: str) -> Principal | None:
        self.asked += 1
        answer = self.answer
        await self.open.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


def principal(life: timedelta = timedelta(days=90)) -> Principal:
    return Principal("user-1", "", "key-1", ("poster",), START + life, scope=frozenset({"posts.*"}))


class Desk:
    """Remembered keys with everything around them."""

    def __init__(self, tasks: TaskSet) -> None:
        self.clock, self.script, self.directory = ManualClock(), Script(), Directory()
        self.tasks = tasks
        self.revocations = Revocations(self.script.watch, self.clock, lambda: timedelta(seconds=15))
        self.keys = RememberedKeys(self.directory, self.revocations, self.clock, tasks)
        self.key = new_api_key()
        tasks.spawn(self.revocations.run(), name="feed")

    def bound(self, **bounds: int) -> None:
        """Remember in other bounds."""
        self.keys = RememberedKeys(self.directory, self.revocations, self.clock, self.tasks, **bounds)

    async def feed(self, *events: pb.WatchRevocationsResponse) -> None:
        self.script.give(*events)
        await settle()

    async def wait(self, seconds: float) -> None:
        """Time passes, and the feed lives on."""
        await self.clock.advance(timedelta(seconds=seconds))
        await self.feed(heartbeat(0))

    async def revoke(self, kind: int, revoked_id: str) -> None:
        revocation = entry(1, kind, revoked_id, self.clock.now())
        await self.feed(pb.WatchRevocationsResponse(revocation=revocation))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with TaskSet() as tasks:
        made = Desk(tasks)
        await made.feed(snapshot(0))
        yield made
        await tasks.check()


async def test_a_good_answer_is_remembered_for_thirty_seconds(desk: Desk) -> None:
    """A busy key must not cost a look-up a call, and a change of the owner's roles must not wait for ever."""
    for _ in range(3):
        assert await desk.keys.resolve(desk.key) == principal()
    assert desk.directory.asked == 1
    await desk.wait(LONGEST_MEMORY.total_seconds() - 1)
    await desk.keys.resolve(desk.key)
    assert desk.directory.asked == 1
    await desk.wait(1)
    await desk.keys.resolve(desk.key)
    assert desk.directory.asked == 2


async def test_an_answer_ends_with_its_key(desk: Desk) -> None:
    """Remembering must not lengthen a life."""
    desk.directory.answer = principal(timedelta(seconds=5))
    await desk.keys.resolve(desk.key)
    await desk.wait(5)
    desk.directory.answer = None
    assert await desk.keys.resolve(desk.key) is None
    assert desk.directory.asked == 2


async def test_a_bad_answer_is_not_remembered(desk: Desk) -> None:
    """The key may be made a moment later, on another machine."""
    desk.directory.answer = None
    assert await desk.keys.resolve(desk.key) is None
    desk.directory.answer = principal()
    assert await desk.keys.resolve(desk.key) == principal()


@pytest.mark.parametrize(
    ("kind", "revoked_id", "asked"),
    [
        (REVOCATION_KIND_API_KEY, "key-1", 2),
        (REVOCATION_KIND_USER, "user-1", 2),
        (REVOCATION_KIND_API_KEY, "key-2", 1),
        (REVOCATION_KIND_USER, "user-2", 1),
        (REVOCATION_KIND_SESSION, "key-1", 1),
    ],
)
async def test_a_revocation_drops_what_it_hits(desk: Desk, kind: int, revoked_id: str, asked: int) -> None:
    """Of the key, or of its owner, whose roles may have changed; and nothing else."""
    await desk.keys.resolve(desk.key)
    await desk.revoke(kind, revoked_id)
    await desk.keys.resolve(desk.key)
    assert desk.directory.asked == asked


@pytest.mark.parametrize("spoiler", [(REVOCATION_KIND_API_KEY, "key-1"), (REVOCATION_KIND_USER, "user-1")])
async def test_an_answer_that_a_revocation_overtook_is_asked_for_again(
    desk: Desk, spoiler: tuple[int, str]
) -> None:
    """It may have been read before, and a stream that it opens may last for months."""
    desk.directory.open.clear()
    call = asyncio.ensure_future(desk.keys.resolve(desk.key))
    await settle()
    await desk.revoke(*spoiler)
    desk.directory.answer = None
    desk.directory.open.set()
    assert await call is None
    assert desk.directory.asked == 2


async def test_revocations_of_others_do_not_delay_an_answer(desk: Desk) -> None:
    """When a thousand users are disabled at once, the keys of the rest must go on working."""
    desk.directory.open.clear()
    call = asyncio.ensure_future(desk.keys.resolve(desk.key))
    await settle()
    await desk.revoke(REVOCATION_KIND_USER, "user-2")
    desk.directory.open.set()
    assert await call == principal()
    assert desk.directory.asked == 1


async def test_a_new_start_of_the_feed_drops_everything(desk: Desk) -> None:
    """Nobody knows what was revoked and forgotten in between."""
    await desk.keys.resolve(desk.key)
    await desk.feed(snapshot(7))
    desk.directory.open.clear()
    call = asyncio.ensure_future(desk.keys.resolve(desk.key))
    await settle()
    await desk.feed(snapshot(9))
    desk.directory.open.set()
    assert await call == principal()
    assert desk.directory.asked == 3


async def test_nothing_remembered_is_used_while_the_feed_is_stale(desk: Desk) -> None:
    """Then only authentication itself knows whether the key still holds."""
    await desk.keys.resolve(desk.key)
    await desk.clock.advance(timedelta(seconds=16))
    await desk.keys.resolve(desk.key)
    await desk.keys.resolve(desk.key)
    assert desk.directory.asked == 3


async def test_calls_at_the_same_time_share_one_look_up(desk: Desk) -> None:
    """A program that starts with a hundred calls costs one; and it does not fail with the first of them that hangs up."""
    desk.directory.open.clear()
    calls = [asyncio.ensure_future(desk.keys.resolve(desk.key)) for _ in range(100)]
    other = asyncio.ensure_future(desk.keys.resolve(new_api_key()))
    await settle()
    calls.pop(0).cancel()
    await settle()
    desk.directory.open.set()
    assert await asyncio.gather(*calls, other) == [principal()] * 100
    assert desk.directory.asked == 2


async def test_an_outage_is_told_as_one_to_all_and_kills_nothing(desk: Desk) -> None:
    """Unknown is not refused: clients are told to come back, and do."""
    desk.directory.answer = Unavailable("SERVICE_UNAVAILABLE", "away")
    answers = await asyncio.gather(*(desk.keys.resolve(desk.key) for _ in range(3)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert desk.directory.asked == 1
    desk.directory.answer = RuntimeError("a defect")
    with pytest.raises(Internal):
        await desk.keys.resolve(desk.key)
    desk.directory.answer = principal()
    assert await desk.keys.resolve(desk.key) == principal()


async def test_memory_is_bounded(desk: Desk) -> None:
    """The oldest answer goes; so does its entry in the index."""
    desk.bound(max_remembered=3)
    keys = [new_api_key() for _ in range(5)]
    for key in keys:
        await desk.keys.resolve(key)
    assert len(desk.keys._known) == 3
    await desk.keys.resolve(keys[-1])
    assert desk.directory.asked == 5
    await desk.keys.resolve(keys[0])
    assert desk.directory.asked == 6
    assert desk.key not in repr(desk.keys._known)


async def test_look_ups_under_way_are_bounded(desk: Desk) -> None:
    """Made-up keys have right checksums if somebody wants them to."""
    desk.bound(max_asking=2)
    desk.directory.open.clear()
    calls = [asyncio.ensure_future(desk.keys.resolve(new_api_key())) for _ in range(2)]
    await settle()
    with pytest.raises(ResourceExhausted):
        await desk.keys.resolve(new_api_key())
    desk.directory.open.set()
    await asyncio.gather(*calls)
    assert await desk.keys.resolve(new_api_key()) == principal()


class Stub:
    """Stands where the generated stub stands."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.metadata: dict[str, str] = {}
        self.timeout = 0.0
        self.request = pb.IntrospectTokenRequest()

    async def IntrospectToken(
        self, request: pb.IntrospectTokenRequest, *, timeout: float, metadata: Any
    ) -> pb.IntrospectTokenResponse:
        self.request, self.timeout, self.metadata = request, timeout, dict(metadata)
        if isinstance(self._answer, grpc.StatusCode):
            raise grpc.aio.AioRpcError(self._answer, grpc.aio.Metadata(), grpc.aio.Metadata())
        answer: pb.IntrospectTokenResponse = self._answer
        return answer


def introspected(**changes: Any) -> pb.IntrospectTokenResponse:
    fields = {"active": True, "subject": "user-1", "username": "joe", "api_key_id": "key-1"}
    answer = pb.IntrospectTokenResponse(**{**fields, **changes}, roles=["poster"], permissions=["posts.*"])
    answer.expire_time.FromDatetime(START + timedelta(days=90))
    return answer


async def test_authentication_is_asked_with_the_key_as_its_own_credential() -> None:
    """Whoever's call it is: no other user's token goes along, its deadline does not cut the look-up short, its request id does."""
    outer = Call(path="/x/Y", request_id="request-1", authorization="Bearer somebody", deadline=0.001)
    set_call(outer)
    stub, key = Stub(introspected()), new_api_key()
    assert await Introspection(lambda: stub).resolve(key) == principal()
    assert stub.metadata == {"x-request-id": "request-1", "authorization": f"Bearer {key}"}
    assert (stub.request.token, stub.timeout) == (key, 3.0)
    assert current_call() is outer


@pytest.mark.parametrize(
    "answer",
    [
        pb.IntrospectTokenResponse(active=False),
        introspected(active=False),
        introspected(api_key_id=""),
        introspected(subject=""),
        pb.IntrospectTokenResponse(active=True, subject="user-1", api_key_id="key-1"),
        grpc.StatusCode.UNAUTHENTICATED,
    ],
    ids=["inactive", "inactive with fields", "no key", "nobody's", "endless", "refused"],
)
async def test_only_a_complete_answer_is_a_good_one(answer: Any) -> None:
    """An access token, or half an answer, is not taken for a key."""
    assert await Introspection(lambda: Stub(answer)).resolve(new_api_key()) is None


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
    ],
)
async def test_without_an_answer_nobody_is_refused(code: grpc.StatusCode) -> None:
    """It is authentication that is away, not the key that is bad."""
    with pytest.raises(Unavailable) as caught:
        await Introspection(lambda: Stub(code)).resolve(new_api_key())
    assert (caught.value.reason, caught.value.metadata) == (
        "SERVICE_UNAVAILABLE",
        {"service": "authentication"},
    )
    assert not isinstance(caught.value, Unauthenticated)
