"""The copy of the revocation feed: complete or known to be incomplete, never older than it says, and no larger than it must be."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from mesh.errors import MeshError, OutOfRange, Unavailable
from mesh.identity.revocations import RETRY, Revocations
from mesh.identity.tokens import AccessToken
from tests.fakes.clock import START, ManualClock, settle
from tests.fakes.revocations import Script, entry, heartbeat, snapshot
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1.revocation_pb2 import (
    REVOCATION_KIND_API_KEY,
    REVOCATION_KIND_SESSION,
    REVOCATION_KIND_SIGNING_KEY,
    REVOCATION_KIND_TOKEN,
    REVOCATION_KIND_USER,
    Revocation,
)

ISSUED = int(START.timestamp()) - 60
BOUND = timedelta(seconds=15)
KIND_OF_TOMORROW = 77


class Notes:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def revoked(self, revocation: Revocation) -> None:
        self.told.append(revocation.id)

    def started_over(self) -> None:
        self.told.append("started over")


class Copy:
    """The copy under test with its source, clock and listener."""

    def __init__(self) -> None:
        self.script, self.clock, self.notes = Script(), ManualClock(), Notes()
        self.revocations = Revocations(self.script.watch, self.clock, lambda: BOUND)
        self.revocations.listen(self.notes)

    async def read(self, *events: pb.WatchRevocationsResponse | MeshError | None) -> None:
        """Let the source say this."""
        self.script.give(*events)
        await settle()

    async def pass_over(self) -> None:
        """Time enough for the longest pause before the next stream."""
        await self.clock.advance(RETRY.most)

    def entry(self, sequence: int, kind: int = REVOCATION_KIND_SESSION, name: str = "") -> Revocation:
        return entry(sequence, kind, name or f"s-{sequence}", self.clock.now())

    def event(
        self, sequence: int, kind: int = REVOCATION_KIND_SESSION, name: str = ""
    ) -> pb.WatchRevocationsResponse:
        return pb.WatchRevocationsResponse(revocation=self.entry(sequence, kind, name))

    def refuses(self, session: str) -> bool:
        return self.revocations.refuses(token(session_id=session))


def token(**changes: object) -> AccessToken:
    fields = {
        "subject": "user",
        "session_id": "session",
        "token_id": "token",
        "roles": (),
        "issued_at": ISSUED,
        "expires_at": ISSUED + 300,
        "key_id": "key",
    }
    return AccessToken(**{**fields, **changes})  # type: ignore[arg-type]  # of mixed types


@pytest.fixture
async def copy() -> AsyncIterator[Copy]:
    made = Copy()
    task = asyncio.ensure_future(made.revocations.run())
    await settle()
    yield made
    task.cancel()


async def test_before_the_first_snapshot_nothing_can_be_judged(copy: Copy) -> None:
    """Unknown is neither good nor revoked; a heartbeat alone says nothing of what came before."""
    await copy.read(heartbeat(0))
    assert not copy.revocations.loaded
    assert copy.revocations.age() == timedelta.max
    with pytest.raises(Unavailable) as caught:
        copy.revocations.require_loaded()
    assert caught.value.reason == "POLICY_NOT_LOADED"
    with pytest.raises(Unavailable) as stale:
        await copy.revocations.check()
    assert stale.value.reason == "REVOCATIONS_STALE"
    await copy.read(snapshot(0))
    copy.revocations.require_loaded()
    await copy.revocations.check()


@pytest.mark.parametrize(
    ("kind", "name", "hit"),
    [
        (REVOCATION_KIND_SESSION, "session", True),
        (REVOCATION_KIND_USER, "user", True),
        (REVOCATION_KIND_TOKEN, "token", True),
        (REVOCATION_KIND_SIGNING_KEY, "key", True),
        (REVOCATION_KIND_SESSION, "token", False),
        (REVOCATION_KIND_TOKEN, "session", False),
        (REVOCATION_KIND_USER, "session", False),
        (REVOCATION_KIND_API_KEY, "token", False),
    ],
)
async def test_each_kind_names_something_of_its_own(copy: Copy, kind: int, name: str, hit: bool) -> None:
    """A session's id must not be taken for a token's: ids of different kinds may be alike."""
    await copy.read(snapshot(0), copy.event(1, kind, name))
    assert copy.revocations.refuses(token()) is hit


async def test_a_revoked_user_may_sign_in_again(copy: Copy) -> None:
    """Only tokens issued up to that second are refused; whole seconds, since that is what `iat` has."""
    await copy.read(snapshot(0), copy.event(1, REVOCATION_KIND_USER, "user"))
    now = int(copy.clock.now().timestamp())
    assert copy.revocations.refuses(token(issued_at=now))
    assert not copy.revocations.refuses(token(issued_at=now + 1))
    await copy.clock.advance(timedelta(seconds=10))
    await copy.read(copy.event(2, REVOCATION_KIND_USER, "user"))
    assert copy.revocations.refuses(token(issued_at=now + 10))
    assert not copy.revocations.refuses(token(issued_at=now + 11))


async def test_an_api_key_is_refused_by_its_id(copy: Copy) -> None:
    """Keys have no `iat` and no session: they have an entry of their own kind."""
    await copy.read(snapshot(1, [copy.entry(1, REVOCATION_KIND_API_KEY, "k-1")]))
    assert copy.revocations.refuses_key("k-1")
    assert not copy.revocations.refuses_key("k-2")


async def test_a_snapshot_counts_when_its_last_part_is_there(copy: Copy) -> None:
    """Half of it must neither be applied nor count as fresh; heartbeats between the parts belong to neither."""
    await copy.read(snapshot(9, [copy.entry(3)], more=True), heartbeat(9))
    assert not copy.revocations.loaded
    assert not copy.refuses("s-3")
    await copy.read(snapshot(9, [copy.entry(7)]), heartbeat(9), copy.event(10))
    assert [name for name in ("s-3", "s-7", "s-10") if copy.refuses(name)] == ["s-3", "s-7", "s-10"]
    assert copy.script.watched == [0]


async def test_a_snapshot_replaces_what_was_held(copy: Copy) -> None:
    """The server knows best; what it no longer names has ended."""
    await copy.read(snapshot(1, [copy.entry(1)]), snapshot(5, [copy.entry(5)]))
    assert not copy.refuses("s-1")
    assert copy.refuses("s-5")


async def test_a_lost_stream_goes_on_after_the_last_entry(copy: Copy) -> None:
    """Nothing is missed and nothing is read twice, however often the stream breaks."""
    await copy.read(snapshot(4), copy.event(5), Unavailable("SERVICE_UNAVAILABLE", "away"))
    await copy.pass_over()
    await copy.read(copy.event(6), None)
    await copy.pass_over()
    assert copy.script.watched == [0, 5, 6]
    assert copy.refuses("s-5")
    assert copy.refuses("s-6")
    assert copy.notes.told == ["started over", "s-5", "s-6"]


@pytest.mark.parametrize(
    "gap",
    [
        lambda copy: copy.event(7),
        lambda copy: copy.event(5),
        lambda copy: heartbeat(6),
        lambda copy: OutOfRange("REVISION_COMPACTED", "no longer kept"),
    ],
    ids=["an entry too far", "an entry again", "a higher heartbeat", "out of range"],
)
async def test_a_gap_is_healed_by_a_snapshot(copy: Copy, gap: Callable[[Copy], object]) -> None:
    """An entry that was lost may be the one that matters. What is known stays in force until the snapshot is there."""
    await copy.read(snapshot(5, [copy.entry(5)]), gap(copy))  # type: ignore[arg-type]  # an event or an error
    await copy.pass_over()
    assert copy.script.watched == [0, 0]
    assert copy.refuses("s-5")
    await copy.read(snapshot(7, [copy.entry(5), copy.entry(6), copy.entry(7)]), heartbeat(7))
    assert copy.refuses("s-6")
    assert copy.script.watched == [0, 0]


async def test_signs_of_life_do_not_count_while_the_position_is_lost(copy: Copy) -> None:
    """A heartbeat proves that nothing is missing only to one who has everything up to it."""
    await copy.read(snapshot(5), heartbeat(6))
    await copy.pass_over()
    await copy.clock.advance(BOUND)
    await copy.read(heartbeat(6))
    assert not copy.revocations.fresh


async def test_silence_makes_it_stale_and_a_heartbeat_fresh_again(copy: Copy) -> None:
    """Dangerous methods are refused meanwhile; what was known stays in force."""
    await copy.read(snapshot(1, [copy.entry(1)]))
    await copy.clock.advance(BOUND)
    assert copy.revocations.age() == BOUND
    copy.revocations.require_fresh()
    await copy.clock.advance(timedelta(seconds=1))
    with pytest.raises(Unavailable) as caught:
        copy.revocations.require_fresh()
    assert caught.value.reason == "REVOCATIONS_STALE"
    assert caught.value.retry_after is not None
    assert copy.refuses("s-1")
    await copy.read(heartbeat(1))
    assert copy.revocations.age() == timedelta()
    await copy.revocations.check()


async def test_entries_are_forgotten_when_they_expire(copy: Copy) -> None:
    """What they refuse has ended by itself; a process that lives for months must not keep them."""
    await copy.read(snapshot(0), *(copy.event(number) for number in range(1, 1001)))
    await copy.clock.advance(timedelta(minutes=30))
    await copy.read(copy.event(1001, name="s-1"))
    await copy.clock.advance(timedelta(minutes=30))
    await copy.read(heartbeat(1001))
    assert copy.refuses("s-1"), "a later entry about the same id counts"
    assert not copy.refuses("s-2")
    held = copy.revocations._held
    assert (len(held.sessions), len(held._ends)) == (1, 1)
    await copy.clock.advance(timedelta(minutes=30))
    await copy.read(heartbeat(1001))
    assert (len(held.sessions), len(held._ends)) == (0, 0)


async def test_an_entry_without_an_end_is_kept(copy: Copy) -> None:
    """The contract always sets one; if it is missing, the safe reading is never."""
    endless = copy.entry(1)
    endless.ClearField("expire_time")
    await copy.read(snapshot(1, [endless]))
    await copy.clock.advance(timedelta(days=400))
    await copy.read(heartbeat(1))
    assert copy.refuses("s-1")


async def test_an_unknown_kind_makes_it_stale_while_it_is_in_force(copy: Copy) -> None:
    """It may refuse anything, and a newer server is not obliged to ask us; the entries around it hold all the same."""
    await copy.read(snapshot(0), copy.event(1, KIND_OF_TOMORROW), copy.event(2), heartbeat(2))
    assert not copy.revocations.fresh
    assert copy.refuses("s-2")
    await copy.read(None)
    await copy.pass_over()
    await copy.read(heartbeat(2))
    assert not copy.revocations.fresh, "a new stream does not make it known"
    await copy.clock.advance(timedelta(hours=1))
    await copy.read(heartbeat(2))
    assert copy.revocations.fresh
    await copy.read(snapshot(3, [copy.entry(3, KIND_OF_TOMORROW)]))
    assert not copy.revocations.fresh
    await copy.read(snapshot(4))
    assert copy.revocations.fresh


async def test_listeners_hear_of_every_entry_and_of_every_new_start(copy: Copy) -> None:
    """What is cached of keys and who watches streams depends on it; a snapshot that changes nothing starts nothing over."""
    await copy.read(snapshot(0), copy.event(1), None)
    await copy.pass_over()
    await copy.read(snapshot(1, [copy.entry(1)]))
    assert copy.notes.told == ["started over", "s-1", "s-1"]
    await copy.read(snapshot(3, [copy.entry(3)]))
    assert copy.notes.told[3:] == ["started over", "s-3"]


async def test_a_server_that_breaks_every_stream_is_asked_ever_more_rarely(copy: Copy) -> None:
    """Reconnecting goes on for ever, and never in a tight loop."""
    for _ in range(200):
        copy.script.give(None)
    await copy.clock.advance(timedelta(seconds=60))
    assert 30 <= len(copy.script.watched) <= 70
