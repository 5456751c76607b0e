"""Sessions and refresh tokens on a real database: never two tokens that both live."""

import asyncio
import os
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from mesh.database import Database
from mesh.errors import NotFound, Unauthenticated, Unavailable
from mesh.ids import new_id
from mesh.secret import Secret
from services.authentication.domain.accounts import UserChange
from services.authentication.domain.api_key import NewApiKey
from services.authentication.domain.events import TOKEN_REUSED
from services.authentication.domain.revocation import RevocationKind
from services.authentication.domain.session import Client
from services.authentication.domain.sessions import GRACE
from services.authentication.domain.tokens import TokenPair
from services.authentication.domain.user import UserState

from .support import CLIENT, PASSWORD, ROOT, World, build, noted, revoked

RACES = 10_000 if os.environ.get("VIVESPHERE_TEST_PROFILE") == "long" else 300


async def refused(world: World, token: str) -> None:
    with pytest.raises(Unauthenticated) as error:
        await world.sessions.refresh(token, CLIENT)
    assert error.value.reason == "TOKEN_INVALID"


async def test_a_refresh_token_buys_the_next_pair_of_the_same_session(world: World) -> None:
    """The base case; the session remembers the latest address and moves its idle end."""
    user = await world.user()
    first = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    await world.clock.advance(timedelta(hours=1))
    second = await world.sessions.refresh(first.refresh_token, Client("192.0.2.8"))
    third = await world.sessions.refresh(second.refresh_token, Client("192.0.2.8"))
    assert first.session_id == second.session_id == third.session_id
    assert len({pair.refresh_token for pair in (first, second, third)}) == 3
    (session,) = await world.sessions.list_sessions(user.id, first.session_id, None, 10)
    assert (session.address, session.last_use_time) == ("192.0.2.8", world.clock.now())
    assert session.idle_expire_time == world.clock.now() + timedelta(days=1)


async def test_a_lost_answer_is_given_again_byte_for_byte(world: World) -> None:
    """A client that asks again within seconds is honest; what it gets is one token, not two."""
    await world.user()
    first = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    second = await world.sessions.refresh(first.refresh_token, CLIENT)
    await world.clock.advance(GRACE)
    again = await world.sessions.refresh(first.refresh_token, Client("192.0.2.8"))
    assert (again.refresh_token, again.session_id) == (second.refresh_token, second.session_id)
    assert again.access_token != second.access_token
    await world.sessions.refresh(again.refresh_token, CLIENT)


async def test_another_replica_gives_the_same_answer_again(world: World, database: Database) -> None:
    """The first may have been killed between its commit and its answer."""
    await world.user()
    first = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    second = await world.sessions.refresh(first.refresh_token, CLIENT)
    other = build(database)
    await asyncio.gather(other.keyring.refresh(), other.server_secret.refresh())
    again = await other.sessions.refresh(first.refresh_token, CLIENT)
    assert again.refresh_token == second.refresh_token
    other.hashing.close()


@pytest.mark.parametrize("late", [True, False], ids=["grace-over", "successor-used"])
async def test_every_other_second_use_ends_the_session(world: World, database: Database, late: bool) -> None:
    """RFC 9700 section 4.14.2: one of the two users is a thief, and nobody knows which. JWT-085."""
    user = await world.user()
    first = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    newest = await world.sessions.refresh(first.refresh_token, CLIENT)
    if late:
        await world.clock.advance(GRACE + timedelta(milliseconds=1))
    else:
        newest = await world.sessions.refresh(newest.refresh_token, CLIENT)
    await refused(world, first.refresh_token)
    await refused(world, newest.refresh_token)
    with pytest.raises(Unauthenticated):
        await world.sessions.current_user(user.id, first.session_id)
    assert await world.sessions.introspect(newest.access_token) is None
    assert await revoked(world) == [(RevocationKind.SESSION, first.session_id)]
    event = (await noted(database))[-1]
    assert event.audit.action == TOKEN_REUSED
    assert (event.audit.resource, event.actor) == (f"sessions/{first.session_id}", user.id)


async def test_a_thief_who_uses_the_grace_is_found_at_the_next_step(world: World) -> None:
    """Both have the same successor; whoever uses it second ends the session."""
    await world.user()
    first = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    owner = await world.sessions.refresh(first.refresh_token, CLIENT)
    thief = await world.sessions.refresh(first.refresh_token, Client("203.0.113.66"))
    stolen = await world.sessions.refresh(thief.refresh_token, Client("203.0.113.66"))
    await world.clock.advance(GRACE + timedelta(seconds=1))
    await refused(world, owner.refresh_token)
    await refused(world, stolen.refresh_token)


async def test_nothing_that_is_stored_makes_a_token(world: World, database: Database) -> None:
    """A copy of the whole database signs nobody in."""
    await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    successor = await world.sessions.refresh(pair.refresh_token, CLIENT)
    secret = world.server_secret.key(b"refresh token")
    async with database.read() as connection:
        for table in ("refresh_tokens", "sessions", "sealed_keys", "outbox"):
            rows = (await connection.execute(text(f"SELECT t::text FROM {table} t"))).scalars().all()  # noqa: S608
            stored = " ".join(rows)
            assert secret.hex() not in stored
            assert successor.refresh_token not in stored
            assert pair.refresh_token not in stored


async def test_without_the_vault_a_new_process_refreshes_nothing(world: World, database: Database) -> None:
    """It cannot derive the successor, and must not make up another one."""
    await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    started = build(database)
    started.sealer.away = True
    with pytest.raises(Unavailable):
        await started.server_secret.refresh()
    with pytest.raises(Unavailable):
        await started.sessions.refresh(pair.refresh_token, CLIENT)
    await world.sessions.refresh(pair.refresh_token, CLIENT)
    started.hashing.close()


async def test_a_reuse_leaves_other_sessions_alone(world: World) -> None:
    """The family is the session, not the user."""
    await world.user()
    stolen = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    safe = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    await world.sessions.refresh(stolen.refresh_token, CLIENT)
    await world.clock.advance(2 * GRACE)
    await refused(world, stolen.refresh_token)
    await world.sessions.refresh(safe.refresh_token, CLIENT)


async def test_an_unknown_token_ends_nothing(world: World) -> None:
    """Guessing must not sign anyone out."""
    await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    for token in ("", "vsr_unknown", pair.refresh_token + "x", pair.refresh_token.upper()):
        await refused(world, token)
    await world.sessions.refresh(pair.refresh_token, CLIENT)


async def test_of_many_uses_at_once_all_get_one_successor(world: World, database: Database) -> None:
    """CVE-2026-1035 in Keycloak: two concurrent uses both succeeded, with two successors. JWT-086."""
    await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    results = await asyncio.gather(*(world.sessions.refresh(pair.refresh_token, CLIENT) for _ in range(200)))
    assert len({result.refresh_token for result in results}) == 1
    async with database.read() as connection:
        rows = await connection.execute(text("SELECT max(generation), count(*) FROM refresh_tokens"))
        assert tuple(rows.one()) == (2, 2)


async def test_every_end_is_in_the_feed(world: World) -> None:
    """What is not there is believed by the other services until it ends by itself."""
    user = await world.user()
    pairs = [await world.sign_in.sign_in("ann", PASSWORD, CLIENT) for _ in range(3)]
    await world.sessions.revoke(user.id, pairs[0].session_id)
    await world.sessions.revoke(user.id, pairs[0].session_id)
    await world.sessions.sign_out(user.id, pairs[1].session_id, everywhere=True)
    found = await revoked(world)
    assert [kind for kind, _ in found] == [RevocationKind.SESSION] * 3
    assert found[0][1] == pairs[0].session_id
    assert {target for _, target in found} == {pair.session_id for pair in pairs}


@pytest.mark.long
@pytest.mark.parametrize("how", ["sign_out", "everywhere", "revoke", "administrator", "disable"])
async def test_no_token_outlives_the_end_that_it_races(world: World, how: str) -> None:
    """keycloak#51312: a refresh that raced the revocation gave out a living token. Whoever is first: after the end nothing lives.
    JWT-088: three hundred times in all, ten thousand in the long profile."""
    user = await world.user()
    lots = random.Random(how)  # noqa: S311 - interleavings, not secrets
    won = 0
    for _ in range(RACES // 5):
        if how == "disable":
            await world.accounts.update(user.id, UserChange(state=UserState.ACTIVE), ROOT)
        pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)

        async def after(turns: int, work: Callable[[], Coroutine[Any, Any, object]]) -> object:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await work()

        ends: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "sign_out": partial(world.sessions.sign_out, user.id, pair.session_id, everywhere=False),
            "everywhere": partial(world.sessions.sign_out, user.id, "", everywhere=True),
            "revoke": partial(world.sessions.revoke, user.id, pair.session_id),
            "administrator": partial(world.interventions.revoke_sessions, user.id, [], api_keys=False),
            "disable": partial(world.accounts.update, user.id, UserChange(state=UserState.DISABLED), ROOT),
        }
        raced, ended = await asyncio.gather(
            after(lots.randrange(24), partial(world.sessions.refresh, pair.refresh_token, CLIENT)),
            after(lots.randrange(24), ends[how]),
            return_exceptions=True,
        )
        assert not isinstance(ended, BaseException)
        assert isinstance(raced, TokenPair | Unauthenticated)
        await refused(world, pair.refresh_token)
        if isinstance(raced, TokenPair):
            won += 1
            await refused(world, raced.refresh_token)
            assert await world.sessions.introspect(raced.access_token) is None
    assert 0 < won < RACES // 5, "the race was never decided the other way, so this has proved little"


async def test_ending_what_is_not_one_s_own_tells_nothing(world: World) -> None:
    """JWT-095: one answer for what never was, for somebody else's and for what was cleared away, and nothing happens to any of them."""
    ann, _ = await world.user("ann"), await world.user("bob")
    his = await world.sign_in.sign_in("bob", PASSWORD, CLIENT)
    told = []
    for session_id in (new_id(), his.session_id):
        with pytest.raises(NotFound) as error:
            await world.sessions.revoke(ann.id, session_id)
        told.append((error.value.reason, str(error.value), error.value.metadata))
        await world.sessions.sign_out(ann.id, session_id, everywhere=False)
    assert told[0] == told[1]
    assert await revoked(world) == []
    assert await world.sessions.introspect(his.access_token) is not None
    await world.sessions.refresh(his.refresh_token, CLIENT)


async def test_a_refresh_token_is_a_bearer_of_its_session_and_its_family_pays_for_a_theft(
    world: World,
) -> None:
    """JWT-091: clients here have no identity to bind to, so another place may use it; but then two hold the family, and the first reuse
    ends it for both."""
    user = await world.user()
    owner = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    stolen = await world.sessions.refresh(owner.refresh_token, Client("203.0.113.66", "thief/1"))
    assert stolen.session_id == owner.session_id
    (seen,) = await world.sessions.list_sessions(user.id, owner.session_id, None, 10)
    assert seen.address == "203.0.113.66", "the owner can see it"
    await world.clock.advance(GRACE + timedelta(seconds=1))
    await refused(world, owner.refresh_token)
    await refused(world, stolen.refresh_token)
    assert await world.sessions.introspect(stolen.access_token) is None


async def test_whoever_gets_a_freed_name_gets_nothing_of_its_former_owner(world: World) -> None:
    """Tokens, sessions, keys and codes belong to an id, which is never given twice (ASVS 10.3.3)."""
    before = await world.enrolled("ann")
    made = await world.api_keys.create(
        before.user.id, before.pair.session_id, NewApiKey("old", ("bots.read",)), ROOT, None
    )
    assert made.key is not None
    await world.accounts.delete(before.user.id, "")
    after = await world.user("ann", "admin")
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    assert after.id != before.user.id
    assert pair.session_id != before.pair.session_id
    await refused(world, before.pair.refresh_token)
    assert await world.sessions.introspect(before.pair.access_token) is None
    assert await world.api_keys.resolve(made.key.reveal()) is None
    known = await world.sessions.introspect(pair.access_token)
    assert known is not None
    assert not known.user.totp_enrolled
    assert len(await world.sessions.list_sessions(after.id, pair.session_id, None, 10)) == 1


async def test_nothing_from_before_a_new_proof_of_the_password_goes_on_after_it(world: World) -> None:
    """Whoever planted or copied a token before has none afterwards (ASVS 7.2.4): a new session for each sign-in, a new family for a
    new password."""
    await world.user()
    first = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    again = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    assert {first.session_id, first.refresh_token, first.access_token}.isdisjoint(
        {again.session_id, again.refresh_token, again.access_token}
    )
    known = await world.sessions.introspect(first.access_token)
    assert known is not None
    changed = await world.sign_in.change_password(
        known.user.id, first.session_id, PASSWORD, Secret("another password of ann's")
    )
    assert changed.refresh_token != first.refresh_token
    await world.clock.advance(GRACE + timedelta(seconds=1))
    await refused(world, again.refresh_token)
    await refused(world, first.refresh_token)


async def test_sessions_end_when_idle_and_at_their_absolute_end(world: World) -> None:
    """A forgotten laptop, and a stolen token that is kept warm."""
    await world.user()
    idle = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    busy = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    for _ in range(6):
        await world.clock.advance(timedelta(hours=12) - timedelta(seconds=1))
        busy = await world.sessions.refresh(busy.refresh_token, CLIENT)
    await refused(world, idle.refresh_token)
    assert busy.expires_in == timedelta(seconds=6)
    await world.clock.advance(timedelta(seconds=6))
    await refused(world, busy.refresh_token)


async def test_signing_out_everywhere_ends_all_sessions(world: World) -> None:
    """The button for a lost device."""
    user = await world.user()
    pairs = [await world.sign_in.sign_in("ann", PASSWORD, CLIENT) for _ in range(3)]
    await world.sessions.sign_out(user.id, pairs[0].session_id, everywhere=True)
    for pair in pairs:
        await refused(world, pair.refresh_token)


async def test_only_own_sessions_are_seen_and_ended(world: World) -> None:
    """Somebody else's session looks like none."""
    ann, bob = await world.user("ann"), await world.user("bob")
    hers, his = [await world.sign_in.sign_in(name, PASSWORD, CLIENT) for name in ("ann", "bob")]
    with pytest.raises(NotFound):
        await world.sessions.revoke(ann.id, his.session_id)
    with pytest.raises(NotFound):
        await world.sessions.revoke(ann.id, new_id())
    await world.sessions.sign_out(ann.id, his.session_id, everywhere=False)
    assert [s.id for s in await world.sessions.list_sessions(bob.id, his.session_id, None, 9)] == [
        his.session_id
    ]
    await world.sessions.revoke(ann.id, hers.session_id)
    await world.sessions.revoke(ann.id, hers.session_id)
    await refused(world, hers.refresh_token)


async def test_disabling_or_deleting_a_user_ends_the_sessions(world: World) -> None:
    """A dismissed colleague is out at once."""
    ann, bob = await world.user("ann"), await world.user("bob")
    hers, his = [await world.sign_in.sign_in(name, PASSWORD, CLIENT) for name in ("ann", "bob")]
    await world.accounts.update(ann.id, UserChange(state=UserState.DISABLED), ROOT)
    await world.accounts.delete(bob.id, "")
    for pair in (hers, his):
        await refused(world, pair.refresh_token)
        assert await world.sessions.introspect(pair.access_token) is None


async def test_a_good_token_tells_what_it_stands_for(world: World) -> None:
    """Services resolve tokens by it; a bad one is an answer, not an error."""
    user = await world.user("ann", "viewer")
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    known = await world.sessions.introspect(pair.access_token)
    assert known is not None
    assert (known.user.id, known.session.id, known.token.roles) == (user.id, pair.session_id, ("viewer",))
    for bad in ("", "x", pair.access_token[:-2], pair.access_token + "=", pair.refresh_token):
        assert await world.sessions.introspect(bad) is None
    await world.clock.advance(timedelta(minutes=5))
    assert await world.sessions.introspect(pair.access_token) is None


async def test_what_is_over_is_cleared_away_and_nothing_else(world: World, database: Database) -> None:
    """Tables that only grow end in a full disk."""
    user = await world.user()
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    await world.clock.advance(timedelta(days=34))
    alive = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    await world.store.prune(world.clock.now())
    async with database.read() as connection:
        ids = (await connection.execute(text("SELECT CAST(id AS text) FROM sessions"))).scalars().all()
    assert ids == [alive.session_id]
    await world.sessions.current_user(user.id, alive.session_id)
