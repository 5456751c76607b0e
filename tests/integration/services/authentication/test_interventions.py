"""What administrators do about an account in trouble, on a real database: what ends, ends everywhere, and what cannot, leaves all as it was."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from mesh.database import Database
from mesh.errors import FailedPrecondition, NotFound, PermissionDenied, ResourceExhausted, Unauthenticated
from mesh.ids import new_id
from mesh.secret import Secret
from services.authentication.domain.accounts import NewUser, UserChange
from services.authentication.domain.first_user import FirstPassword, FirstUser
from services.authentication.domain.permissions import Giver
from services.authentication.domain.tokens import TokenPair
from services.authentication.domain.user import UserState
from vivesphere.logging.v1 import log_record_pb2

from .support import CLIENT, PASSWORD, ROOT, World

CLERK = Giver(frozenset({"users.read", "users.write", "bots.read"}), ROOT.roles)
NEW = Secret("an even better horse")


async def feed(world: World) -> list[tuple[str, str]]:
    """Kinds and ids of all revocations, in the order of the feed."""
    async with world.store.read() as unit:
        return [
            (entry.kind.value, entry.target_id)
            for entry in await unit.revocations.after(0, world.clock.now(), 1_000)
        ]


async def revoke_time(database: Database, user_id: str) -> object:
    async with database.read() as connection:
        query = text("SELECT tokens_revoke_time FROM users WHERE id = :id")
        return (await connection.execute(query, {"id": user_id})).scalar_one()


async def api_key(database: Database, world: World, user_id: str, *, days: int = 30) -> str:
    """A key of the user's that ends in so many days."""
    key_id = new_id()
    async with database.transaction() as connection:
        await connection.execute(
            text(
                "INSERT INTO api_keys (id, user_id, display_name, permissions, prefix, hash, create_time, expire_time)"
                " VALUES (:id, :user, '', '{}', '', :hash, :now, :end)"
            ),
            {
                "id": key_id,
                "user": user_id,
                "hash": key_id.encode(),
                "now": world.clock.now(),
                "end": world.clock.now() + timedelta(days=days),
            },
        )
    return key_id


async def signed_out(world: World, *pairs: TokenPair) -> None:
    for pair in pairs:
        assert await world.sessions.introspect(pair.access_token) is None
        with pytest.raises(Unauthenticated):
            await world.sessions.refresh(pair.refresh_token, CLIENT)


async def test_a_reset_password_opens_only_its_own_change(world: World, database: Database) -> None:
    """The old one is gone, sessions have ended everywhere, and the new one is shown once."""
    ann = await world.user("ann", "viewer")
    before = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    made = await world.interventions.reset_password(ann.id, ROOT, disable_totp=False)
    assert made.expire_time == world.clock.now() + timedelta(hours=24)
    assert await feed(world) == [("SESSION", before.session_id), ("USER", ann.id)]
    assert await revoke_time(database, ann.id) == world.clock.now()
    await signed_out(world, before)
    with pytest.raises(Unauthenticated):
        await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    pair = await world.sign_in.sign_in("ann", made.password, CLIENT)
    assert pair.password_change_required
    changed = await world.sign_in.change_password(ann.id, pair.session_id, made.password, NEW)
    assert not changed.password_change_required
    await world.clock.advance(timedelta(hours=25))
    assert not (await world.sign_in.sign_in("ann", NEW, CLIENT)).password_change_required
    assert (await world.accounts.get(ann.id)).etag != ann.etag


async def test_a_one_time_password_is_good_until_it_is_changed_or_lapses(world: World) -> None:
    """A lost answer to the first sign-in must not lock out; a forgotten letter must not stay a way in."""
    ann = await world.user("ann")
    made = await world.interventions.reset_password(ann.id, ROOT, disable_totp=False)
    for _ in range(2):
        pair = await world.sign_in.sign_in("ann", made.password, CLIENT)
    await world.clock.advance(timedelta(hours=24) - timedelta(seconds=1))
    pair = await world.sign_in.sign_in("ann", made.password, CLIENT)
    await world.clock.advance(timedelta(seconds=1))
    with pytest.raises(Unauthenticated) as lapsed:
        await world.sign_in.sign_in("ann", made.password, CLIENT)
    assert lapsed.value.reason == "LOGIN_FAILED"
    with pytest.raises(Unauthenticated):
        await world.sign_in.change_password(ann.id, pair.session_id, made.password, NEW)


async def test_who_is_locked_out_and_gets_another_password_need_not_wait(world: World) -> None:
    """Whoever needs help has tried before."""
    ann = await world.user("ann")
    for _ in range(4):
        with pytest.raises(Unauthenticated):
            await world.sign_in.sign_in("ann", NEW, CLIENT)
    made = await world.interventions.reset_password(ann.id, ROOT, disable_totp=False)
    await world.sign_in.sign_in("ann", made.password, CLIENT)


async def test_nobody_gets_into_an_account_that_holds_more(world: World) -> None:
    """A clerk who may write users would otherwise be an administrator; roles bound to the user count too."""
    boss, viewer = await world.user("boss", "admin"), await world.user("viewer", "viewer")
    pair = await world.sign_in.sign_in("boss", PASSWORD, CLIENT)
    with pytest.raises(PermissionDenied) as refused:
        await world.interventions.reset_password(boss.id, CLERK, disable_totp=True)
    assert refused.value.reason == "PERMISSION_MISSING"
    await world.sessions.current_user(boss.id, pair.session_id)
    await world.interventions.reset_password(viewer.id, CLERK, disable_totp=False)
    bound = Giver(CLERK.permissions, CLERK.roles, lambda user_id: ["admin"] if user_id == viewer.id else [])
    with pytest.raises(PermissionDenied):
        await world.interventions.reset_password(viewer.id, bound, disable_totp=False)


@pytest.mark.parametrize("disable", [True, False])
async def test_the_second_factor_stays_unless_it_is_asked_away(
    world: World, database: Database, disable: bool
) -> None:
    """A password alone must not replace it; a lost device must not end an account."""
    ann = await world.user("ann")
    async with database.transaction() as connection:
        await connection.execute(
            text("INSERT INTO second_factors (user_id, sealed_secret, create_time) VALUES (:id, 'x', now())"),
            {"id": ann.id},
        )
        await connection.execute(
            text("INSERT INTO recovery_codes (user_id, hash) VALUES (:id, 'y')"), {"id": ann.id}
        )
    await world.interventions.reset_password(ann.id, ROOT, disable_totp=disable)
    async with database.read() as connection:
        for table in ("second_factors", "recovery_codes"):
            count = await connection.execute(text(f"SELECT count(*) FROM {table}"))  # noqa: S608 - our own
            assert count.scalar_one() == (0 if disable else 1)


async def test_sessions_are_revoked_one_by_one_or_all_and_keys_only_when_asked(
    world: World, database: Database
) -> None:
    """Counts tell what this call has ended; what had ended before is no error."""
    ann, bob = await world.user("ann"), await world.user("bob")
    pairs = [await world.sign_in.sign_in("ann", PASSWORD, CLIENT) for _ in range(4)]
    his = await world.sign_in.sign_in("bob", PASSWORD, CLIENT)
    key, _ended = await api_key(database, world, ann.id), await api_key(database, world, ann.id, days=-1)
    first, second = pairs[0].session_id, pairs[1].session_id
    assert await world.interventions.revoke_sessions(ann.id, [first], api_keys=False) == (1, 0)
    assert await world.interventions.revoke_sessions(ann.id, [first, second], api_keys=False) == (1, 0)
    await signed_out(world, *pairs[:2])
    assert await world.interventions.revoke_sessions(ann.id, [], api_keys=True) == (2, 1)
    assert await world.interventions.revoke_sessions(ann.id, [], api_keys=True) == (0, 0)
    await signed_out(world, *pairs)
    entries = await feed(world)
    assert entries[:2] == [("SESSION", first), ("SESSION", second)]
    assert set(entries[2:]) == {
        ("SESSION", pairs[2].session_id),
        ("SESSION", pairs[3].session_id),
        ("API_KEY", key),
    }
    await world.sessions.current_user(bob.id, his.session_id)


async def test_with_one_unknown_session_nothing_ends(world: World, database: Database) -> None:
    """Not even the keys; somebody else's session is unknown too."""
    ann = await world.user("ann")
    await world.user("bob")
    await api_key(database, world, ann.id)
    own = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    his = await world.sign_in.sign_in("bob", PASSWORD, CLIENT)
    for stranger in (his.session_id, new_id()):
        with pytest.raises(NotFound) as unknown:
            await world.interventions.revoke_sessions(ann.id, [own.session_id, stranger], api_keys=True)
        assert unknown.value.reason == "SESSION_NOT_FOUND"
    assert await feed(world) == []
    assert len(await world.interventions.list_sessions(ann.id, None, 10)) == 1


async def test_every_session_of_everybody_can_be_ended(world: World, database: Database) -> None:
    """The way out when it is not known who is signed in; who was not signed in is not touched."""
    people = [await world.user(name) for name in ("ann", "bob", "cyd")]
    old = await world.sign_in.sign_in("cyd", PASSWORD, CLIENT)
    await world.clock.advance(timedelta(days=2))
    pairs = [await world.sign_in.sign_in(name, PASSWORD, CLIENT) for name in ("ann", "ann", "bob")]
    assert await world.interventions.revoke_all_sessions() == 3
    await signed_out(world, old, *pairs)
    assert set(await feed(world)) == {("USER", people[0].id), ("USER", people[1].id)}
    assert [await revoke_time(database, user.id) for user in people] == [world.clock.now()] * 2 + [None]
    assert await world.interventions.revoke_all_sessions() == 0
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT)


async def test_what_takes_rights_away_is_in_the_feed_and_what_does_not_is_not(
    world: World, database: Database
) -> None:
    """Services believe access tokens for minutes unless they are told otherwise."""
    ann, bob = await world.user("ann", "viewer"), await world.user("bob", "viewer")
    hers, his = [await world.sign_in.sign_in(name, PASSWORD, CLIENT) for name in ("ann", "bob")]
    keys = [await api_key(database, world, user.id) for user in (ann, bob)]
    assert (
        len(keys) == 2
    )  # hers works again once the account is woken up, so no entry of its own outlives that
    await world.accounts.update(ann.id, UserChange(display_name="Ann"), ROOT)
    assert await feed(world) == []
    assert await revoke_time(database, ann.id) is None
    await world.accounts.update(ann.id, UserChange(roles=()), ROOT)
    assert await feed(world) == [("USER", ann.id)]
    assert await revoke_time(database, ann.id) == world.clock.now()
    await world.accounts.update(ann.id, UserChange(state=UserState.DISABLED), ROOT)
    await world.accounts.update(ann.id, UserChange(display_name="Gone"), ROOT)
    await world.accounts.delete(bob.id, "")
    assert (await feed(world))[1:] == [
        ("SESSION", hers.session_id),
        ("USER", ann.id),
        ("SESSION", his.session_id),
        ("USER", bob.id),
        ("API_KEY", keys[1]),
    ]


async def test_a_changed_password_ends_the_other_sessions_in_the_feed_too(world: World) -> None:
    """Whoever knew the old one holds access tokens."""
    ann = await world.user("ann")
    other, own = [await world.sign_in.sign_in("ann", PASSWORD, CLIENT) for _ in range(2)]
    await world.sign_in.change_password(ann.id, own.session_id, PASSWORD, NEW)
    assert await feed(world) == [("SESSION", other.session_id)]


async def test_a_session_too_many_ends_the_oldest_and_says_so(world: World, database: Database) -> None:
    """A script that signs in for every call must neither fill the disk nor go unnoticed."""
    ann = await world.user("ann")
    pairs = [await world.sign_in.sign_in("ann", PASSWORD, CLIENT) for _ in range(22)]
    living = await world.interventions.list_sessions(ann.id, None, 50)
    assert [session.id for session in living] == [pair.session_id for pair in reversed(pairs[2:])]
    assert await feed(world) == [("SESSION", pair.session_id) for pair in pairs[:2]]
    assert await events(database, "session.evicted") == [
        (f"sessions/{pair.session_id}", ann.id) for pair in pairs[:2]
    ]
    await signed_out(world, *pairs[:2])


async def events(database: Database, action: str) -> list[tuple[str, str]]:
    """Resource and actor of the events of one kind that wait to be put on the trail."""
    async with database.read() as connection:
        rows = await connection.execute(text("SELECT payload FROM outbox ORDER BY create_time, id"))
        records = [log_record_pb2.LogRecord.FromString(bytes(row.payload)) for row in rows]
    return [(record.audit.resource, record.actor) for record in records if record.audit.action == action]


async def test_who_does_not_exist_is_not_found(world: World) -> None:
    """For every method that names a user."""
    nobody = new_id()
    for attempt in (
        world.interventions.reset_password(nobody, ROOT, disable_totp=False),
        world.interventions.reset_password_locally("nobody", "local:root", disable_totp=False),
        world.interventions.unlock(nobody),
        world.interventions.list_sessions(nobody, None, 10),
        world.interventions.revoke_sessions(nobody, [], api_keys=True),
    ):
        with pytest.raises(NotFound) as unknown:
            await attempt
        assert unknown.value.reason == "USER_NOT_FOUND"


async def test_a_password_that_everybody_tries_first_is_not_set(world: World) -> None:
    """On create and on change, also one that is the user's own name."""
    for password in ("Password1234", "vivesphere!", "annabella7"):
        with pytest.raises(FailedPrecondition) as refused:
            await world.accounts.create(NewUser("annabella", Secret(password)), ROOT, None)
        assert (refused.value.reason, refused.value.violations[0].field) == ("PASSWORD_REFUSED", "password")
    ann = await world.user("annabella")
    own = await world.sign_in.sign_in("annabella", PASSWORD, CLIENT)
    with pytest.raises(FailedPrecondition) as refused:
        await world.sign_in.change_password(ann.id, own.session_id, PASSWORD, Secret("4nn4b3ll4!"))
    assert (refused.value.reason, refused.value.violations[0].field) == ("PASSWORD_REFUSED", "new_password")


async def test_a_given_first_password_that_is_easy_to_guess_does_not_stop_the_start(world: World) -> None:
    """An installation without anybody could not even be repaired; the log says what to do."""
    first = FirstPassword(Secret("administrator"), one_time=False)
    await FirstUser(world.store, world.hashing, lambda: first, world.clock).ensure()
    await world.sign_in.sign_in("admin", first.password, CLIENT)


async def test_unlocking_forgets_wrong_codes_too(world: World) -> None:
    """Otherwise the next attempt would be delayed all the same, for up to an hour."""
    ann = await world.enrolled("ann")
    for _ in range(6):
        with pytest.raises(Unauthenticated):
            await world.factors.check(ann.user.id, Secret("000000"), None)
    with pytest.raises(ResourceExhausted):
        await world.factors.check(ann.user.id, Secret("000000"), None)
    await world.interventions.unlock(ann.user.id)
    with pytest.raises(Unauthenticated):
        await world.factors.check(ann.user.id, Secret("000000"), None)


async def test_a_reset_password_still_needs_the_code(world: World) -> None:
    """An administrator who sets a password does not get past a second factor that stays."""
    ann = await world.enrolled("ann")
    made = await world.interventions.reset_password(ann.user.id, ROOT, disable_totp=False)
    with pytest.raises(Unauthenticated) as refused:
        await world.sign_in.sign_in("ann", made.password, CLIENT)
    assert refused.value.reason == "SECOND_FACTOR_REQUIRED"
    await world.clock.advance(timedelta(seconds=30))
    pair = await world.sign_in.sign_in("ann", made.password, CLIENT, world.otp(ann.secret))
    assert pair.device_token.startswith("vsd_")
    made = await world.interventions.reset_password(ann.user.id, ROOT, disable_totp=True)
    await world.sign_in.sign_in("ann", made.password, CLIENT)
