"""Roles: what exists, and that nobody gives away what is not theirs."""

import pytest

from mesh.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from services.configuration.catalogue import read_catalogue
from services.configuration.domain.role import (
    BUILT_IN,
    Caller,
    Catalogue,
    Permission,
    Role,
    RoleBinding,
    covers,
    held_by,
    require_administrator_left,
    require_held,
)

ROLES = {role.id: role for role in (*BUILT_IN, Role("poster", ("posts.*",)))}
ANA = Caller("ana", ("viewer",))


def test_built_in_roles_grant_only_what_some_method_requires() -> None:
    """A misspelt permission would silently grant nothing."""
    catalogue = read_catalogue()
    for role in BUILT_IN:
        catalogue.check(role.permissions)


def test_built_in_roles_are_the_four() -> None:
    """Their names and contents are promised in the documentation."""
    assert [role.id for role in BUILT_IN] == ["admin", "operator", "viewer", "auditor"]
    assert all(role.built_in and list(role.permissions) == sorted(role.permissions) for role in BUILT_IN)


def test_the_catalogue_comes_from_the_contracts() -> None:
    """There is no second list of permissions."""
    permissions = {permission.name: permission for permission in read_catalogue().permissions}
    assert (
        "vivesphere.configuration.v1.SettingsService/UpdateSetting" in permissions["settings.write"].methods
    )
    assert permissions["bots.read"].per_bot
    assert not permissions["settings.write"].per_bot


def test_unknown_permissions_are_refused_by_position() -> None:
    """A role with a typing mistake looks right and does nothing."""
    catalogue = Catalogue([Permission("posts.read", (), True)])
    catalogue.check(["posts.read", "posts.*", "*"])
    with pytest.raises(InvalidArgument) as refused:
        catalogue.check(["posts.read", "posts.raed"])
    assert refused.value.violations[0].field == "role.permissions[1]"


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        (["posts.read"], "posts.read", True),
        (["posts.*"], "posts.read", True),
        (["*"], "posts.*", True),
        (["posts.*"], "posts.*", True),
        (["posts.read", "posts.write"], "posts.*", False),
        (["posts.*"], "*", False),
        (["posts.*"], "postscripts.read", False),
        ([], "posts.read", False),
    ],
)
def test_a_wildcard_is_covered_by_itself_or_a_wider_one(held: list[str], wanted: str, expected: bool) -> None:
    """It grows with the product, so a list of today's permissions does not make up for it."""
    assert covers(held, wanted) is expected


def test_account_and_fleet_bindings_count_and_bot_bindings_do_not() -> None:
    """Roles are for the whole fleet; what one holds for one bot must not be given out for all."""
    bindings = [
        RoleBinding("1", "ana", "poster"),
        RoleBinding("2", "ana", "admin", bot_id="b"),
        RoleBinding("3", "ben", "auditor"),
    ]
    held = held_by(ANA, ROLES, bindings)
    assert covers(held, "posts.write")
    assert covers(held, "bots.read")
    assert not covers(held, "users.read")
    assert not covers(held, "users.write")


def test_nobody_grants_what_they_do_not_hold() -> None:
    """Otherwise whoever may write roles would be an administrator."""
    with pytest.raises(PermissionDenied) as refused:
        require_held(frozenset({"roles.write", "posts.*"}), ["posts.read", "users.write"])
    assert refused.value.metadata["permission"] == "users.write"


def test_the_last_administrator_stays() -> None:
    """Nobody could make another one."""
    admin = RoleBinding("1", "ana", "admin")
    with pytest.raises(FailedPrecondition) as refused:
        require_administrator_left(ANA, admin, [RoleBinding("2", "ben", "admin", bot_id="b")])
    assert refused.value.reason == "LAST_ADMINISTRATOR"
    require_administrator_left(ANA, admin, [RoleBinding("2", "ben", "admin")])
    require_administrator_left(Caller("root", ("admin",)), admin, [])
    require_administrator_left(ANA, RoleBinding("1", "ana", "viewer"), [])
