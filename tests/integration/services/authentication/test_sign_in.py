"""Signing in on a real database: one answer for every failure, slowed down, shared by replicas."""

import asyncio
from datetime import timedelta

import pytest

from mesh.database import Database
from mesh.errors import FailedPrecondition, ResourceExhausted, Unauthenticated, Unavailable
from mesh.identity.tokens import verify
from mesh.secret import Secret
from services.authentication.domain.accounts import UserChange
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.passwords import HashParameters, PasswordPolicy
from services.authentication.domain.proving import Prover
from services.authentication.domain.sign_in import SignIn
from services.authentication.domain.throttle import Rules
from services.authentication.domain.user import UserState

from .support import CLIENT, PASSWORD, ROOT, World, build

WRONG = Secret("wrong horse battery")


async def test_the_right_password_starts_a_session(world: World) -> None:
    """The base case, under any spelling of the name."""
    user = await world.user("ann", "viewer")
    pair = await world.sign_in.sign_in("ANN", PASSWORD, CLIENT)
    token = verify(pair.access_token, world.keyring.verifiers(), world.clock.now().timestamp())
    assert (token.subject, token.session_id, token.roles) == (user.id, pair.session_id, ("viewer",))
    assert pair.expires_in == timedelta(minutes=5)
    assert f"users/{user.id}" in world.trail.resources
    listed = await world.sessions.list_sessions(user.id, pair.session_id, None, 10)
    assert [(session.address, session.user_agent) for session in listed] == [("192.0.2.7", "test/1")]
    assert (await world.accounts.get(user.id)).last_sign_in_time == world.clock.now()
    assert (await world.accounts.get(user.id)).etag == user.etag


async def test_every_failure_has_the_same_answer(world: World) -> None:
    """Otherwise strangers learn who has an account."""
    await world.user("ann")
    gone = await world.user("gone")
    await world.accounts.update(gone.id, UserChange(state=UserState.DISABLED), ROOT)
    answers = set()
    for name, password in (("ann", WRONG), ("nobody", PASSWORD), ("gone", PASSWORD), ("", PASSWORD)):
        with pytest.raises(Unauthenticated) as refused:
            await world.sign_in.sign_in(name, password, CLIENT)
        answers.add((refused.value.reason, refused.value.message, refused.value.retry_after))
    assert len(answers) == 1
    assert next(iter(answers))[0] == "LOGIN_FAILED"


@pytest.mark.parametrize("name", ["ann", "nobody"])
async def test_failures_slow_the_next_attempt_down_for_every_replica(
    world: World, database: Database, name: str
) -> None:
    """Counted before the password is looked at, in the database: neither parallel guesses nor other replicas help."""
    await world.user("ann")
    other = build(database)
    await asyncio.gather(other.keyring.refresh(), other.server_secret.refresh())
    for replica in (world, other, world, other):
        with pytest.raises(Unauthenticated):
            await replica.sign_in.sign_in(name, WRONG, CLIENT)
    with pytest.raises(ResourceExhausted) as refused:
        await other.sign_in.sign_in(name, PASSWORD, CLIENT)
    assert (refused.value.reason, refused.value.retry_after) == ("LOGIN_THROTTLED", timedelta(seconds=1))
    other.hashing.close()


async def test_after_the_pause_the_owner_signs_in_and_the_count_is_gone(world: World) -> None:
    """Slowed down, never locked."""
    await world.user("ann")
    for _ in range(4):
        with pytest.raises(Unauthenticated):
            await world.sign_in.sign_in("ann", WRONG, CLIENT)
    await world.clock.advance(timedelta(seconds=1))
    for _ in range(6):
        await world.sign_in.sign_in("ann", PASSWORD, CLIENT)


async def test_a_changed_cost_rehashes_at_the_next_sign_in(world: World) -> None:
    """Settings reach old accounts without anyone's doing."""
    user = await world.user("ann")
    costly = HashingPool(1, 8, lambda: HashParameters(iterations=2, memory_kib=64, lanes=1))
    prover = Prover(world.store, costly, Rules, world.clock)
    sign_in = SignIn(
        world.store,
        prover,
        world.factors,
        world.devices,
        world.issuer,
        PasswordPolicy,
        world.trail,
        world.clock,
    )
    await sign_in.sign_in("ann", PASSWORD, CLIENT)
    async with world.store.read() as unit:
        found = await unit.users.credentials(user.id)
    assert found is not None
    assert "t=2" in found.password_hash
    await sign_in.sign_in("ann", PASSWORD, CLIENT)
    costly.close()


async def test_changing_the_password_ends_the_other_sessions_only(world: World) -> None:
    """Whoever knew the old password is out; the one who changed it goes on."""
    user = await world.user("ann")
    other = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    own = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    new = Secret("an even better horse")
    pair = await world.sign_in.change_password(user.id, own.session_id, PASSWORD, new)
    assert pair.session_id == own.session_id
    for stale in (other, own):
        with pytest.raises(Unauthenticated):
            await world.sessions.refresh(stale.refresh_token, CLIENT)
    with pytest.raises(Unauthenticated):
        await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    await world.sign_in.sign_in("ann", new, CLIENT)


async def test_a_password_is_not_changed_to_itself_nor_with_a_wrong_one(world: World) -> None:
    """A stolen token alone must not take the account over."""
    user = await world.user("ann")
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    with pytest.raises(Unauthenticated) as wrong:
        await world.sign_in.change_password(user.id, pair.session_id, WRONG, Secret("whatever else"))
    assert wrong.value.reason == "LOGIN_FAILED"
    with pytest.raises(FailedPrecondition) as same:
        await world.sign_in.change_password(user.id, pair.session_id, PASSWORD, PASSWORD)
    assert same.value.reason == "PASSWORD_REFUSED"


async def test_without_an_open_key_nobody_signs_in_and_nothing_is_counted(database: Database) -> None:
    """The vault's absence is not the user's failure."""
    world = build(database)
    await world.user("ann")
    for _ in range(10):
        with pytest.raises(Unavailable) as refused:
            await world.sign_in.sign_in("ann", WRONG, CLIENT)
        assert refused.value.reason == "VAULT_UNAVAILABLE"
    await asyncio.gather(world.keyring.refresh(), world.server_secret.refresh())
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    world.hashing.close()


async def test_a_password_holds_for_years(world: World) -> None:
    """NIST 800-63B: a password that has to be changed by the calendar is chosen badly (ASVS 6.2.10)."""
    await world.user()
    for _ in range(5):
        await world.clock.advance(timedelta(days=366))
        pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
        assert not pair.password_change_required
