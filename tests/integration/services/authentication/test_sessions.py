"""Sessions and refresh tokens on a real database: never two tokens that both live."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from mesh.database import Database
from mesh.errors import NotFound, Unauthenticated
from mesh.ids import new_id
from services.authentication.domain.accounts import UserChange
from services.authentication.domain.session import Client
from services.authentication.domain.tokens import TokenPair
from services.authentication.domain.user import UserState

from .support import CLIENT, PASSWORD, ROOT, World


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


async def test_a_second_use_ends_the_session(world: World) -> None:
    """RFC 9700 section 4.14.2: one of the two users is a thief, and nobody knows which."""
    user = await world.user()
    first = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    second = await world.sessions.refresh(first.refresh_token, CLIENT)
    await refused(world, first.refresh_token)
    await refused(world, second.refresh_token)
    with pytest.raises(Unauthenticated):
        await world.sessions.current_user(user.id, first.session_id)
    assert await world.sessions.introspect(second.access_token) is None


async def test_a_reuse_leaves_other_sessions_alone(world: World) -> None:
    """The family is the session, not the user."""
    await world.user()
    stolen = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    safe = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    await world.sessions.refresh(stolen.refresh_token, CLIENT)
    await refused(world, stolen.refresh_token)
    await world.sessions.refresh(safe.refresh_token, CLIENT)


async def test_an_unknown_token_ends_nothing(world: World) -> None:
    """Guessing must not sign anyone out."""
    await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    for token in ("", "vsr_unknown", pair.refresh_token + "x", pair.refresh_token.upper()):
        await refused(world, token)
    await world.sessions.refresh(pair.refresh_token, CLIENT)


async def test_of_many_uses_at_once_one_wins_at_most(world: World, database: Database) -> None:
    """CVE-2026-1035 in Keycloak: two concurrent uses both succeeded."""
    await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    results = await asyncio.gather(
        *(world.sessions.refresh(pair.refresh_token, CLIENT) for _ in range(12)), return_exceptions=True
    )
    assert sum(isinstance(result, TokenPair) for result in results) == 1
    assert sum(isinstance(result, Unauthenticated) for result in results) == 11
    async with database.read() as connection:
        rows = await connection.execute(text("SELECT max(generation), count(*) FROM refresh_tokens"))
        assert tuple(rows.one()) == (2, 2)


async def test_no_token_outlives_a_sign_out_it_races(world: World) -> None:
    """keycloak#51312: a refresh that raced the revocation gave out a living token."""
    user = await world.user()
    for _ in range(20):
        pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
        raced, _ = await asyncio.gather(
            world.sessions.refresh(pair.refresh_token, CLIENT),
            world.sessions.sign_out(user.id, pair.session_id, everywhere=False),
            return_exceptions=True,
        )
        if isinstance(raced, TokenPair):
            await refused(world, raced.refresh_token)
            assert await world.sessions.introspect(raced.access_token) is None


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
