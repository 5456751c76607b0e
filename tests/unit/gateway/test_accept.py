"""Laws of content negotiation."""

import pytest

from gateway.accept import preferred

OFFERED = ("a/one", "b/two", "a/three")


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        (None, "a/one"),
        ("", "a/one"),
        ("*/*", "a/one"),
        ("b/two", "b/two"),
        ("B/Two; charset=utf-8", "b/two"),
        ("a/*", "a/one"),
        ("b/*", "b/two"),
        ("*/*, a/three", "a/three"),
        ("a/one;q=0.5, b/two;q=0.501", "b/two"),
        ("a/one;q=0, */*", "b/two"),
        ("a/*;q=0, */*;q=0.1", "b/two"),
        ("a/one;q=0.1, a/*;q=0.9, b/two;q=0.5", "a/three"),
        ("b/two;Q=0.9, a/three;q=1.000", "a/three"),
        ("b/two;v=1;q=0.2, a/one;q=0.1", "b/two"),
        ("b/two;q=0.1, b/two;q=0.9, a/one;q=0.5", "b/two"),
        ("c/four", "a/one"),
        ("*/*;q=0", "a/one"),
        ("a/one;q=2, b/two;q=0.1", "b/two"),
        ("a/one;q=, b/two;q=0.1", "b/two"),
        ("nonsense, b/two;q=0.1, /, ;", "b/two"),
        (", " * 100 + "b/two", "a/one"),
    ],
)
def test_the_form_a_client_wants_most_is_chosen(header: str | None, chosen: str) -> None:
    """Weights first, names before wildcards, then our order; what cannot be read is skipped."""
    assert preferred(header, OFFERED) == chosen
