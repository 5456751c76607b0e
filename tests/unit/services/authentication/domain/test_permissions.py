"""Nobody gives more than they hold."""

import pytest

from mesh.errors import NotFound, PermissionDenied
from services.authentication.domain.permissions import Giver

ROLES = {
    "admin": frozenset({"*"}),
    "bots": frozenset({"bots.*"}),
    "viewer": frozenset({"bots.read", "posts.read"}),
    "reader": frozenset({"bots.read"}),
    "nothing": frozenset[str](),
}


@pytest.mark.parametrize(
    ("held", "role"),
    [
        ({"*"}, "admin"),
        ({"*"}, "bots"),
        ({"bots.*"}, "bots"),
        ({"bots.*"}, "reader"),
        ({"bots.read", "posts.read"}, "viewer"),
        (set(), "nothing"),
    ],
)
def test_what_is_held_may_be_given(held: set[str], role: str) -> None:
    """Wildcards cover what they stand for."""
    Giver(frozenset(held), ROLES).check([role])


@pytest.mark.parametrize(
    ("held", "role"),
    [({"users.write", "users.read"}, "admin"), ({"bots.read", "bots.write"}, "bots"), ({"bots.*"}, "viewer")],
)
def test_what_is_not_held_may_not_be_given(held: set[str], role: str) -> None:
    """Otherwise whoever may write users makes an administrator and signs in as it."""
    with pytest.raises(PermissionDenied) as refused:
        Giver(frozenset(held), ROLES).check(["nothing", role])
    assert refused.value.metadata["permission"]


def test_who_holds_more_is_out_of_reach() -> None:
    """Whoever sets somebody's password can sign in as them; roles that are bound to them count as well."""
    bound = {"carl": ["bots"], "ann": ["admin"]}
    clerk = Giver(frozenset({"bots.*", "users.write"}), ROLES, lambda user_id: bound[user_id])
    clerk.check_over("carl", ["reader", "a role that is gone"])
    for user, roles in (("carl", ["admin"]), ("ann", ["reader"]), ("carl", ["viewer"])):
        with pytest.raises(PermissionDenied):
            clerk.check_over(user, roles)


def test_a_role_that_does_not_exist_is_named() -> None:
    """A typing error must not make a user who may do nothing."""
    with pytest.raises(NotFound) as refused:
        Giver(frozenset({"*"}), ROLES).check(["viewer", "veiwer"])
    assert (refused.value.reason, refused.value.violations[0].field) == ("ROLE_NOT_FOUND", "roles[1]")
