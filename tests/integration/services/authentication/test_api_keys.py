"""API keys on a real database: shown once, never above their owner, gone when they are revoked."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from mesh.database import Database
from mesh.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from mesh.identity.api_keys import api_key_hash, is_well_formed, new_api_key
from mesh.ids import new_id
from services.authentication.domain.accounts import RequestKey, UserChange
from services.authentication.domain.api_key import ApiKey, ApiKeyState, KeyRules, MadeApiKey, NewApiKey
from services.authentication.domain.permissions import Giver
from services.authentication.domain.revocation import RevocationKind
from services.authentication.domain.user import User, UserState

from .support import CLIENT, PASSWORD, ROOT, World, dumped, refused, rows

CLERK = Giver(frozenset({"users.read", "bots.*"}), ROOT.roles)


class Owner:
    """A user who makes keys in a session of its own."""

    def __init__(self, world: World, user: User, session_id: str) -> None:
        self.world, self.user, self.session_id = world, user, session_id

    async def make(
        self,
        *permissions: str,
        name: str = "ci",
        expire_time: datetime | None = None,
        giver: Giver = ROOT,
        request: RequestKey | None = None,
    ) -> MadeApiKey:
        new = NewApiKey(name, permissions or ("bots.read",), expire_time)
        return await self.world.api_keys.create(self.user.id, self.session_id, new, giver, request)

    async def listed(self, *, show_inactive: bool = False) -> Sequence[ApiKey]:
        return await self.world.api_keys.list(self.user.id, None, 200, show_inactive=show_inactive)


async def owner(world: World, name: str = "ann") -> Owner:
    user = await world.user(name)
    pair = await world.sign_in.sign_in(name, PASSWORD, CLIENT)
    return Owner(world, user, pair.session_id)


def text_of(made: MadeApiKey) -> str:
    assert made.key is not None
    return made.key.reveal()


async def test_a_key_stands_for_its_owner_until_it_ends(world: World) -> None:
    """The base case."""
    ann = await owner(world)
    made = await ann.make("posts.write", "bots.read", "posts.write")
    key = text_of(made)
    assert is_well_formed(key)
    assert made.api_key.prefix == key[:12]
    assert made.api_key.permissions == ("bots.read", "posts.write")
    assert made.api_key.expire_time == world.clock.now() + timedelta(days=90)
    assert f"apiKeys/{made.api_key.id}" in world.trail.resources
    known = await world.api_keys.resolve(key)
    assert known is not None
    assert (known.owner.id, known.api_key) == (ann.user.id, made.api_key)
    assert key not in repr(made)
    await world.clock.advance(timedelta(days=90) - timedelta(seconds=1))
    assert await world.api_keys.resolve(key) is not None
    await world.clock.advance(timedelta(seconds=1))
    assert await world.api_keys.resolve(key) is None


async def test_what_is_no_key_of_ours_stands_for_nobody(world: World, database: Database) -> None:
    """Malformed ones do not even cost a look into the database."""
    ann = await owner(world)
    key = text_of(await ann.make())
    for bad in (new_api_key(), key.swapcase(), key + "0", "", "vsk_", "x" * 8192):
        assert await world.api_keys.resolve(bad) is None


async def test_a_revoked_key_is_refused_everywhere_and_stays_revoked(world: World) -> None:
    """The feed carries it to whoever remembers the key; a second revocation is no error and no entry."""
    ann = await owner(world)
    made = await ann.make()
    async with world.store.read() as unit:
        newest = await unit.revocations.newest_sequence()
    await world.api_keys.revoke(ann.user.id, made.api_key.id)
    await world.clock.advance(timedelta(seconds=1))
    await world.api_keys.revoke(ann.user.id, made.api_key.id)
    assert await world.api_keys.resolve(text_of(made)) is None
    (shown,) = await ann.listed(show_inactive=True)
    assert shown.revoke_time == world.clock.now() - timedelta(seconds=1)
    assert shown.state(world.clock.now()) is ApiKeyState.REVOKED
    async with world.store.read() as unit:
        entries = await unit.revocations.after(newest, world.clock.now(), 10)
    assert [(entry.kind, entry.target_id) for entry in entries] == [(RevocationKind.API_KEY, made.api_key.id)]


async def test_only_own_keys_are_seen_and_revoked(world: World) -> None:
    """Somebody else's key looks like none."""
    ann, bob = await owner(world, "ann"), await owner(world, "bob")
    his = await bob.make()
    for key_id in (his.api_key.id, new_id()):
        with refused(NotFound, "API_KEY_NOT_FOUND"):
            await world.api_keys.revoke(ann.user.id, key_id)
    assert await ann.listed(show_inactive=True) == []
    assert await world.api_keys.resolve(text_of(his)) is not None


async def test_all_keys_of_a_user_are_revoked_at_once(world: World) -> None:
    """What administrators do to a lost laptop: the ids are those that were in force."""
    ann, bob = await owner(world, "ann"), await owner(world, "bob")
    over = await ann.make()
    await world.api_keys.revoke(ann.user.id, over.api_key.id)
    mine = [await ann.make() for _ in range(2)]
    his = await bob.make()
    async with world.store.transaction() as unit:
        ended = await unit.api_keys.revoke(ann.user.id, world.clock.now())
    assert set(ended) == {made.api_key.id for made in mine}
    assert [await world.api_keys.resolve(text_of(made)) for made in mine] == [None, None]
    assert await world.api_keys.resolve(text_of(his)) is not None


async def test_the_same_request_makes_one_key_and_shows_it_once(world: World, database: Database) -> None:
    """A client that lost the answer asks again: it hears of the key and has to make another one to hold it."""
    ann, bob = await owner(world, "ann"), await owner(world, "bob")
    soon = world.clock.now() + timedelta(minutes=1)
    request = RequestKey(new_id(), ann.user.id, b"digest")
    results = await asyncio.gather(*(ann.make(request=request, expire_time=soon) for _ in range(6)))
    assert len({made.api_key.id for made in results}) == 1
    assert sum(made.key is not None for made in results) == 1
    await world.clock.advance(timedelta(minutes=2))
    assert (await ann.make(request=request, expire_time=soon)).api_key == results[0].api_key
    with refused(InvalidArgument, "IDEMPOTENCY_KEY_REUSED"):
        await ann.make(request=replace(request, fingerprint=b"x"))
    await bob.make(request=replace(request, actor=bob.user.id, fingerprint=b"x"))
    assert await rows(database, "api_keys") == 2


async def test_nobody_makes_a_key_that_can_do_more_than_they(world: World, database: Database) -> None:
    """Else a clerk would be an administrator by way of a key."""
    ann = await owner(world)
    for wanted in ("*", "users.*", "users.write", "posts.read"):
        with pytest.raises(PermissionDenied) as error:
            await ann.make("bots.read", wanted, giver=CLERK)
        assert (error.value.reason, error.value.metadata) == ("PERMISSION_MISSING", {"permission": wanted})
    assert await rows(database, "api_keys") == 0
    await ann.make("bots.*", "bots.write", "users.read", giver=CLERK)


async def test_the_end_of_a_key_lies_within_a_year(world: World) -> None:
    """The refusal names the field."""
    ann = await owner(world)
    now = world.clock.now()
    for bad, reason in ((now, "TIME_IN_PAST"), (now + timedelta(days=366, seconds=1), "INVALID_FIELD")):
        with pytest.raises(InvalidArgument) as error:
            await ann.make(expire_time=bad)
        assert (error.value.reason, error.value.violations[0].field) == (reason, "expire_time")
    made = await ann.make(expire_time=now + timedelta(days=366))
    assert made.api_key.expire_time == now + timedelta(days=366)


async def test_a_user_has_so_many_keys_in_force_and_no_more(world: World) -> None:
    """Also when they are made side by side, in as many sessions; ended ones do not count."""
    world.dials.api_keys = KeyRules(max_per_user=3)
    ann, bob = await owner(world, "ann"), await owner(world, "bob")
    pairs = [await world.sign_in.sign_in("ann", PASSWORD, CLIENT) for _ in range(8)]
    anns = [Owner(world, ann.user, pair.session_id) for pair in pairs]
    results = await asyncio.gather(*(each.make() for each in anns), return_exceptions=True)
    made = [result for result in results if isinstance(result, MadeApiKey)]
    assert len(made) == 3
    assert all(isinstance(result, MadeApiKey | FailedPrecondition) for result in results)
    await bob.make()
    with refused(FailedPrecondition, "INVALID_STATE"):
        await ann.make()
    await world.api_keys.revoke(ann.user.id, made[0].api_key.id)
    await ann.make(expire_time=world.clock.now() + timedelta(seconds=1))
    await world.clock.advance(timedelta(seconds=1))
    await ann.make()


async def test_a_disabled_owner_s_keys_are_refused_and_a_deleted_one_s_are_gone(
    world: World, database: Database
) -> None:
    """A dismissed colleague's scripts stop too."""
    ann = await owner(world)
    key = text_of(await ann.make())
    user = await world.accounts.update(ann.user.id, UserChange(state=UserState.DISABLED), ROOT)
    assert await world.api_keys.resolve(key) is None
    await world.accounts.update(ann.user.id, UserChange(state=UserState.ACTIVE), ROOT)
    known = await world.api_keys.resolve(key)
    assert known is not None
    assert known.owner.id == user.id
    await world.accounts.delete(ann.user.id, "")
    assert await world.api_keys.resolve(key) is None
    assert await rows(database, "api_keys") == 0


async def test_only_a_living_session_makes_a_key(world: World, database: Database) -> None:
    """An access token outlives its session by minutes; a key made with it would outlive it by months."""
    ann, bob = await owner(world, "ann"), await owner(world, "bob")
    await world.sessions.sign_out(ann.user.id, ann.session_id, everywhere=False)
    with refused(Unauthenticated, "TOKEN_INVALID"):
        await ann.make()
    with refused(Unauthenticated, "TOKEN_INVALID"):
        await Owner(world, ann.user, bob.session_id).make()
    await world.accounts.update(bob.user.id, UserChange(state=UserState.DISABLED), ROOT)
    with refused(Unauthenticated, "TOKEN_INVALID"):
        await bob.make()
    assert await rows(database, "api_keys") == 0


async def test_keys_are_listed_newest_first_in_pages(world: World) -> None:
    """Keyset pages; ended keys only where they are asked for."""
    ann = await owner(world)
    made = [await ann.make(name=f"key{number}") for number in range(4)]
    await world.api_keys.revoke(ann.user.id, made[2].api_key.id)
    brief = await ann.make(name="brief", expire_time=world.clock.now() + timedelta(seconds=1))
    await world.clock.advance(timedelta(seconds=1))
    first = await world.api_keys.list(ann.user.id, None, 2, show_inactive=False)
    rest = await world.api_keys.list(ann.user.id, first[-1].id, 10, show_inactive=False)
    assert [key.display_name for key in [*first, *rest]] == ["key3", "key1", "key0"]
    every = await ann.listed(show_inactive=True)
    assert [key.display_name for key in every] == ["brief", "key3", "key2", "key1", "key0"]
    assert every[0].id == brief.api_key.id


async def test_a_use_is_known_within_a_minute_and_written_twice_a_minute_at_most(
    world: World, database: Database
) -> None:
    """A busy key must not make a write of every call."""
    ann = await owner(world)
    made = await ann.make()

    async def last_use() -> datetime | None:
        async with world.store.read() as unit:
            found = await unit.api_keys.get(made.api_key.id, ann.user.id)
        assert found is not None
        return found.last_use_time

    assert await last_use() is None
    start = world.clock.now()
    seen = set()
    for _ in range(90):
        await world.api_keys.touch(made.api_key.id)
        noted = await last_use()
        assert noted is not None
        assert world.clock.now() - noted < timedelta(minutes=1)
        seen.add(noted - start)
        await world.clock.advance(timedelta(seconds=1))
    assert seen == {timedelta(seconds=seconds) for seconds in (0, 30, 60)}


async def test_replicas_together_write_a_use_as_rarely_as_one(world: World, database: Database) -> None:
    """The database knows what the other one has written."""
    ann = await owner(world)
    made = await ann.make()
    await world.api_keys.touch(made.api_key.id)
    await world.clock.advance(timedelta(seconds=29))
    async with world.store.transaction(concludes=False) as unit:
        now = world.clock.now()
        await unit.api_keys.note_use(made.api_key.id, now, now - timedelta(seconds=30))
        found = await unit.api_keys.get(made.api_key.id, ann.user.id)
    assert found is not None
    assert found.last_use_time == now - timedelta(seconds=29)


async def test_a_use_that_cannot_be_noted_fails_no_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of the last use is worth less than the call itself; the next use tries again."""
    ann = await owner(world)
    made = await ann.make()

    def away(**options: bool) -> None:
        raise Unavailable("DATABASE_UNAVAILABLE", "away")

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "transaction", away)
        await world.api_keys.touch(made.api_key.id)
    await world.api_keys.touch(made.api_key.id)
    (shown,) = await ann.listed()
    assert shown.last_use_time == world.clock.now()


async def test_ended_keys_are_kept_for_a_year(world: World, database: Database) -> None:
    """For the record, and not for ever: tables that only grow end in a full disk."""
    ann = await owner(world)
    made = await ann.make()
    await ann.make(expire_time=world.clock.now() + timedelta(days=366))
    await world.api_keys.revoke(ann.user.id, made.api_key.id)
    await world.clock.advance(timedelta(days=366))
    await world.store.prune(world.clock.now())
    assert await rows(database, "api_keys") == 2
    await world.clock.advance(timedelta(seconds=1))
    await world.store.prune(world.clock.now())
    assert await rows(database, "api_keys") == 1


async def test_no_table_holds_a_key(world: World, database: Database) -> None:
    """Whoever reads a backup can do nothing with it."""
    ann = await owner(world)
    key = text_of(await ann.make(request=RequestKey(new_id(), ann.user.id, b"digest")))
    dump = await dumped(database)
    assert key.encode() not in dump
    assert key[12:].encode() not in dump
    assert key[:12].encode() in dump
    assert api_key_hash(key) in dump
    async with database.read() as connection:
        hashes = (await connection.execute(text("SELECT hash FROM api_keys"))).scalars().all()
    assert [bytes(found) for found in hashes] == [api_key_hash(key)]
