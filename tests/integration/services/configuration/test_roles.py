"""Roles on PostgreSQL: nobody gives or takes more than they hold, and somebody stays who may do everything."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mesh.errors import FailedPrecondition, PermissionDenied
from mesh.ids import new_id
from services.configuration.domain.changes import Author
from services.configuration.domain.role import Caller, Catalogue, Permission, Role
from services.configuration.domain.role_book import RoleBook
from services.configuration.store.postgres import PostgresStore

CATALOGUE = Catalogue(
    [Permission(name, (), False) for name in ("posts.read", "posts.write", "users.write", "roles.write")]
)
ROOT = Caller(new_id(), ("admin",))
USER = new_id()
KEY = Caller(ROOT.user_id, ("admin",), frozenset({"roles.write", "posts.*"}))
"""An administrator's API key that is limited to posts and roles."""


@pytest.fixture
async def roles(store: PostgresStore) -> RoleBook:
    """The built-in roles, one within the key's reach and one beyond it."""
    book = RoleBook(store, CATALOGUE, lambda revision: None, new_id)
    await book.ensure_built_in("1.0.0", Author("service:configuration"))
    await book.create(Role("poster", ("posts.*",)), ROOT)
    await book.create(Role("boss", ("users.write",)), ROOT)
    return book


Attempt = Callable[[RoleBook, Caller], Coroutine[Any, Any, object]]


async def _unbind_boss(book: RoleBook, who: Caller) -> None:
    binding = await book.bind(USER, "boss", "", ROOT)
    await book.unbind(binding.id, who)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda book, who: book.create(Role("other", ("users.write",)), who),
        lambda book, who: book.create(Role("other", ("*",)), who),
        lambda book, who: book.update("poster", who, permissions=("posts.*", "users.write")),
        lambda book, who: book.update("boss", who, permissions=("posts.read",)),
        lambda book, who: book.update("boss", who, description="Harmless."),
        lambda book, who: book.delete("boss", who),
        lambda book, who: book.bind(USER, "boss", "", who),
        lambda book, who: book.bind(USER, "admin", "", who),
        lambda book, who: book.bind(USER, "boss", new_id(), who),
        _unbind_boss,
    ],
)
async def test_an_api_key_gives_and_takes_only_what_it_holds(
    store: PostgresStore, roles: RoleBook, attempt: Attempt
) -> None:
    """A key that was given little and leaks must not make an administrator, nor unmake one."""
    with pytest.raises(PermissionDenied) as refused:
        await attempt(roles, KEY)
    assert refused.value.reason == "PERMISSION_MISSING"
    await attempt(roles, ROOT)


async def test_what_an_api_key_holds_it_may_give(roles: RoleBook) -> None:
    """Within its scope it is as good as its owner."""
    await roles.create(Role("reader", ("posts.read",)), KEY)
    await roles.update("reader", KEY, permissions=("posts.read", "posts.write"))
    binding = await roles.bind(USER, "poster", "", KEY)
    await roles.unbind(binding.id, KEY)
    await roles.delete("reader", KEY)


async def test_a_scope_adds_nothing(roles: RoleBook) -> None:
    """A key is limited by its owner as well: what the owner lost, the key has lost."""
    key = Caller(new_id(), (), frozenset({"*"}))
    with pytest.raises(PermissionDenied):
        await roles.create(Role("reader", ("posts.read",)), key)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("turned", [True, False])
async def test_two_administrators_cannot_remove_each_other(
    roles: RoleBook, together: bool, turned: bool
) -> None:
    """At the same moment or one after the other, in either order: exactly one binding stays."""
    first, second = Caller(new_id(), ()), Caller(new_id(), ())
    for who in (first, second):
        await roles.bind(who.user_id, "admin", "", ROOT)
    held = {binding.subject: binding.id for binding in await roles.bindings("", "admin", "", "", 10)}
    attempts = [(held[second.user_id], first), (held[first.user_id], second)]
    if turned:
        attempts.reverse()
    if together:
        outcomes = await asyncio.gather(
            *(roles.unbind(binding, who) for binding, who in attempts), return_exceptions=True
        )
    else:
        outcomes = [await _outcome(roles.unbind(binding, who)) for binding, who in attempts]
    assert [type(outcome) for outcome in outcomes].count(type(None)) == 1
    # Whoever was removed first holds nothing any more, and cannot take the last one's role.
    assert any(isinstance(outcome, PermissionDenied) for outcome in outcomes)
    assert len(await roles.bindings("", "admin", "", "", 10)) == 1


@pytest.mark.parametrize("together", [True, False])
async def test_administrators_cannot_all_step_down(roles: RoleBook, together: bool) -> None:
    """Each takes back the own binding; the last one is refused."""
    admins = [Caller(new_id(), ()) for _ in range(4)]
    bindings = [await roles.bind(who.user_id, "admin", "", ROOT) for who in admins]
    downs = [roles.unbind(binding.id, who) for binding, who in zip(bindings, admins, strict=True)]
    if together:
        outcomes = await asyncio.gather(*downs, return_exceptions=True)
    else:
        outcomes = [await _outcome(down) for down in downs]
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert [type(outcome) for outcome in refused] == [FailedPrecondition]
    assert len(await roles.bindings("", "admin", "", "", 10)) == 1


async def _outcome(attempt: Coroutine[Any, Any, object]) -> object:
    try:
        return await attempt
    except Exception as error:
        return error
