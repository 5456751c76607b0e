"""JSON values: what counts as the same, and which numbers stay whole."""

from hypothesis import given
from hypothesis import strategies as st

from services.configuration.domain.values import Stored, canonical, same, whole

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def test_true_is_not_one() -> None:
    """Python says True == 1; a setting changed from 1 to true must make a revision."""
    assert not same(Stored(True), Stored(1))
    assert not same(Stored([False]), Stored([0]))


def test_a_stored_null_is_something_stored() -> None:
    """Otherwise null could not be stored over a default."""
    assert not same(Stored(None), None)
    assert same(None, None)
    assert same(Stored(None), Stored(None))


def test_order_of_keys_does_not_matter() -> None:
    """JSON objects have no order, so reordering is no change."""
    assert same(Stored({"a": 1, "b": 2}), Stored({"b": 2, "a": 1}))


def test_integral_numbers_are_integers() -> None:
    """7 must not come back as 7.0; beyond 2^53 a double no longer knows which integer it was."""
    assert repr(whole(7.0)) == "7"
    assert repr(whole(-0.5)) == "-0.5"
    assert repr(whole(2.0**60)) == "1.152921504606847e+18"


@given(JSON)
def test_every_value_equals_itself(value: object) -> None:
    """Saving a form unchanged makes no revision."""
    assert same(Stored(value), Stored(value))
    assert canonical(value) == canonical(value)
