"""The filter of ListUsers: understood or refused, never ignored."""

import pytest

from mesh.errors import InvalidArgument
from services.authentication.domain.filters import Comparison, Condition, parse_filter


def test_comparisons_are_joined() -> None:
    """The contract's own example."""
    assert parse_filter('state = "ACTIVE" AND roles : "admin"') == (
        Condition("state", Comparison.EQUALS, "ACTIVE"),
        Condition("roles", Comparison.HOLDS, "admin"),
    )


def test_a_star_makes_a_prefix_and_names_are_normalised() -> None:
    """What a person types is found as it is stored."""
    assert parse_filter("username = ANN*") == (Condition("username", Comparison.STARTS_WITH, "ann"),)
    assert parse_filter('email="a@b.example"') == (Condition("email", Comparison.EQUALS, "a@b.example"),)


def test_no_filter_is_no_condition() -> None:
    """All users."""
    assert parse_filter("  ") == ()


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "state = ACTIVE OR state = DISABLED",
        "state : ACTIVE",
        "roles = admin",
        "state = GONE",
        "password_hash = x",
        'username = "a" AND',
        " AND ".join(["username = a"] * 9),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """A filter that is not understood would show more than was asked for."""
    with pytest.raises(InvalidArgument) as refused:
        parse_filter(text)
    assert refused.value.reason == "INVALID_FILTER"
