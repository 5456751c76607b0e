"""Accounts on a real database: names once, an administrator always, nobody above their own rights."""

import asyncio

import pytest

from mesh.database import Database
from mesh.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    MeshError,
    NotFound,
    PermissionDenied,
)
from mesh.ids import new_id
from mesh.secret import Secret
from services.authentication.domain.accounts import NewUser, RequestKey, UserChange
from services.authentication.domain.events import FIRST_USER_MADE
from services.authentication.domain.filters import parse_filter
from services.authentication.domain.first_user import FirstPassword, FirstUser
from services.authentication.domain.permissions import Giver
from services.authentication.domain.user import UserState

from .support import CLIENT, PASSWORD, ROOT, World, noted

CLERK = Giver(frozenset({"users.read", "users.write", "bots.read"}), ROOT.roles)


async def test_a_name_is_given_once_whatever_its_spelling(world: World) -> None:
    """Two accounts that look alike are one account and a trap."""
    await world.user("ann")
    with pytest.raises(AlreadyExists) as taken:
        await world.user("ＡNN")
    assert taken.value.reason == "USERNAME_TAKEN"


async def test_the_same_request_makes_one_user(world: World) -> None:
    """A client that lost the answer asks again."""
    key = RequestKey(new_id(), "actor", b"digest")
    new = NewUser("ann", PASSWORD)
    made = await asyncio.gather(*(world.accounts.create(new, ROOT, key) for _ in range(4)))
    assert len({user.id for user in made}) == 1
    with pytest.raises(InvalidArgument) as reused:
        await world.accounts.create(NewUser("bob", PASSWORD), ROOT, RequestKey(key.request_id, "actor", b"x"))
    assert reused.value.reason == "IDEMPOTENCY_KEY_REUSED"
    await world.accounts.create(NewUser("bob", PASSWORD), ROOT, RequestKey(key.request_id, "other", b"x"))


async def test_nobody_gives_more_than_they_hold(world: World) -> None:
    """By making a user, by changing one, or by waking one up."""
    with pytest.raises(PermissionDenied):
        await world.accounts.create(NewUser("eve", PASSWORD, roles=("admin",)), CLERK, None)
    eve = await world.accounts.create(NewUser("eve", PASSWORD, roles=("viewer",)), CLERK, None)
    with pytest.raises(PermissionDenied):
        await world.accounts.update(eve.id, UserChange(roles=("viewer", "admin")), CLERK)
    boss = await world.user("boss", "admin")
    await world.user("root", "admin")
    await world.accounts.update(boss.id, UserChange(state=UserState.DISABLED), CLERK)
    with pytest.raises(PermissionDenied):
        await world.accounts.update(boss.id, UserChange(state=UserState.ACTIVE), CLERK)
    assert (await world.accounts.get(eve.id)).roles == ("viewer",)


async def test_the_last_administrator_stays_whatever_is_tried_at_once(world: World) -> None:
    """Two administrators who remove each other would lock everyone out."""
    one, two = await world.user("one", "admin"), await world.user("two", "admin")
    results = await asyncio.gather(
        world.accounts.update(one.id, UserChange(roles=()), ROOT),
        world.accounts.update(two.id, UserChange(state=UserState.DISABLED), ROOT),
        world.accounts.delete(one.id, ""),
        world.accounts.delete(two.id, ""),
        return_exceptions=True,
    )
    assert any(isinstance(result, FailedPrecondition) for result in results)
    assert all(
        result is None or not isinstance(result, BaseException) or isinstance(result, MeshError)
        for result in results
    )
    async with world.store.read() as unit:
        assert await unit.users.other_active_admin(new_id())


async def test_an_update_needs_the_newest_version_unless_nothing_changes(world: World) -> None:
    """A retry whose answer was lost must not fail."""
    ann = await world.user("ann")
    changed = await world.accounts.update(ann.id, UserChange(display_name="Ann", etag=ann.etag), ROOT)
    assert changed.etag != ann.etag
    assert await world.accounts.update(ann.id, UserChange(display_name="Ann", etag=ann.etag), ROOT) == changed
    with pytest.raises(Aborted) as stale:
        await world.accounts.update(ann.id, UserChange(display_name="Anna", etag=ann.etag), ROOT)
    assert stale.value.reason == "ETAG_MISMATCH"
    with pytest.raises(Aborted):
        await world.accounts.delete(ann.id, ann.etag)


async def test_who_does_not_exist_is_not_found(world: World) -> None:
    """For every method that names a user."""
    for attempt in (
        world.accounts.get(new_id()),
        world.accounts.update(new_id(), UserChange(email="a@b.example"), ROOT),
        world.accounts.delete(new_id(), ""),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_a_deleted_name_can_be_used_again(world: World) -> None:
    """The id never is."""
    ann = await world.user("ann")
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    await world.accounts.delete(ann.id, ann.etag)
    assert (await world.user("ann")).id != ann.id


async def test_lists_are_filtered_and_paged_newest_first(world: World) -> None:
    """Keyset pages: whoever is added meanwhile moves nothing."""
    made = [await world.user(f"user{number}", *(["viewer"] if number % 2 else [])) for number in range(5)]
    await world.accounts.update(made[1].id, UserChange(state=UserState.DISABLED), ROOT)
    first = await world.accounts.list((), None, 2)
    second = await world.accounts.list((), first[-1].id, 10)
    assert [user.username for user in first + second] == ["user4", "user3", "user2", "user1", "user0"]

    async def names(filter_text: str) -> list[str]:
        return [user.username for user in await world.accounts.list(parse_filter(filter_text), None, 10)]

    assert await names("roles : viewer AND state = ACTIVE") == ["user3"]
    assert await names('username = "USER*"') == ["user4", "user3", "user2", "user1", "user0"]
    assert await names("username = user%*") == []
    assert await names("state = DISABLED") == ["user1"]


async def test_replicas_that_start_together_make_one_first_user(world: World) -> None:
    """Two administrators with one password would be one too many."""
    first = FirstPassword(PASSWORD, one_time=True)
    starts = [FirstUser(world.store, world.hashing, lambda: first, world.clock) for _ in range(4)]
    await asyncio.gather(*(start.ensure() for start in starts))
    users = await world.accounts.list((), None, 10)
    assert [(user.username, user.roles, user.password_change_required) for user in users] == [
        ("admin", ("admin",), True)
    ]


async def test_the_first_administrator_is_on_the_trail(world: World, database: Database) -> None:
    """Nobody called for it, so no call is audited; and a second one would be worth knowing of."""
    await FirstUser(
        world.store, world.hashing, lambda: FirstPassword(PASSWORD, one_time=True), world.clock
    ).ensure()
    (admin,) = await world.accounts.list((), None, 10)
    trail = [(event.audit.action, event.audit.resource) for event in await noted(database)]
    assert trail.count((FIRST_USER_MADE, f"users/{admin.id}")) == 1


async def test_a_one_time_password_opens_only_the_own_account_until_it_is_changed(world: World) -> None:
    """It was printed on a screen."""
    await FirstUser(
        world.store, world.hashing, lambda: FirstPassword(PASSWORD, one_time=True), world.clock
    ).ensure()
    pair = await world.sign_in.sign_in("admin", PASSWORD, CLIENT)
    assert pair.password_change_required
    known = await world.sessions.introspect(pair.access_token)
    assert known is not None
    assert known.token.roles == ()
    changed = await world.sign_in.change_password(
        known.user.id, pair.session_id, PASSWORD, Secret("my own password")
    )
    assert not changed.password_change_required
    known = await world.sessions.introspect(changed.access_token)
    assert known is not None
    assert known.token.roles == ("admin",)


async def test_with_a_user_the_first_password_is_not_even_read(world: World) -> None:
    """Its file is gone after the first start."""
    await world.user("ann")

    def unreadable() -> FirstPassword | None:
        raise FileNotFoundError

    await FirstUser(world.store, world.hashing, unreadable, world.clock).ensure()
    assert len(await world.accounts.list((), None, 10)) == 1


async def test_a_first_password_that_is_too_short_stops_the_start(world: World) -> None:
    """Better no administrator than one with a guessable password."""
    start = FirstUser(
        world.store, world.hashing, lambda: FirstPassword(Secret("short"), one_time=False), world.clock
    )
    with pytest.raises(ValueError, match="8 to 256"):
        await start.ensure()
    assert await world.accounts.list((), None, 10) == []
