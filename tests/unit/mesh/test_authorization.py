"""Who holds what: roles, wildcards and bindings; deny is the default."""

from datetime import UTC, datetime

from mesh.authorization import Binding, Policy
from mesh.context import Principal

POLICY = Policy(
    revision=1,
    roles={
        "admin": frozenset({"*"}),
        "viewer": frozenset({"posts.read"}),
        "poster": frozenset({"posts.*"}),
    },
    bindings={"u1": (Binding("u1", "poster", "bot-1"), Binding("u1", "viewer"))},
)


def principal(*roles: str, user: str = "u0") -> Principal:
    return Principal(user, "s", "t", roles, datetime(2030, 1, 1, tzinfo=UTC))


def test_nothing_is_granted_by_default() -> None:
    """A user without roles, or with a role nobody defined, may do nothing."""
    assert not POLICY.allows(principal(), "posts.read")
    assert not POLICY.allows(principal("no-such-role"), "posts.read")


def test_wildcards_reach_their_resource_and_no_further() -> None:
    """`posts.*` is all of posts; a prefix that merely looks alike is not."""
    assert POLICY.allows(principal("poster"), "posts.approve")
    assert not POLICY.allows(principal("poster"), "posts_archive.read")
    assert POLICY.allows(principal("admin"), "anything.at_all")


def test_a_binding_for_a_bot_holds_for_that_bot_only() -> None:
    """Operators of one bot must not reach its neighbour, nor the fleet."""
    user = principal(user="u1")
    assert POLICY.allows(user, "posts.write", "bot-1")
    assert not POLICY.allows(user, "posts.write", "bot-2")
    assert not POLICY.allows(user, "posts.write")


def test_a_binding_without_a_bot_holds_for_the_fleet() -> None:
    """The other half of the rule above."""
    assert POLICY.allows(principal(user="u1"), "posts.read", "bot-9")
    assert POLICY.permissions(principal(user="u1")) == {"posts.read"}
