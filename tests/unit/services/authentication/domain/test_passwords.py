"""Passwords: hashed as given, at a cost that travels with the hash."""

import pytest

from mesh.errors import FailedPrecondition, InvalidArgument
from mesh.secret import Secret
from services.authentication.domain.passwords import (
    HashParameters,
    check_changed,
    check_new_password,
    hash_password,
    outdated,
    verify_password,
)

CHEAP = HashParameters(iterations=1, memory_kib=64, lanes=1)


def test_only_the_exact_password_fits() -> None:
    """Neither blanks nor case nor an equivalent spelling may be forgiven: each would be one more guess for free."""
    phc = hash_password(Secret(" Pass wörd "), CHEAP)
    assert verify_password(Secret(" Pass wörd "), phc)
    for wrong in ("Pass wörd", " pass wörd ", " Pass wo\u0308rd ", ""):
        assert not verify_password(Secret(wrong), phc)


def test_the_same_password_has_another_hash_each_time() -> None:
    """Equal hashes would tell who shares a password."""
    assert hash_password(Secret("x" * 8), CHEAP) != hash_password(Secret("x" * 8), CHEAP)


def test_a_long_password_counts_to_its_last_character() -> None:
    """Some hashes look at the first 72 bytes only."""
    phc = hash_password(Secret("a" * 255 + "b"), CHEAP)
    assert not verify_password(Secret("a" * 255 + "c"), phc)


def test_a_hash_that_is_none_fits_nothing() -> None:
    """A damaged row must not open an account."""
    assert not verify_password(Secret("x"), "")
    assert not verify_password(Secret("x"), "$argon2id$v=19$m=64,t=1,p=1$$")


def test_the_default_cost_is_owasps() -> None:
    """OWASP Password Storage Cheat Sheet: m=19456 (19 MiB), t=2, p=1."""
    phc = hash_password(Secret("correct horse"), HashParameters())
    assert phc.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert not outdated(phc, HashParameters())


def test_another_cost_makes_a_hash_outdated() -> None:
    """That is how accounts move to new settings at their next sign-in."""
    phc = hash_password(Secret("correct horse"), CHEAP)
    assert not outdated(phc, CHEAP)
    assert outdated(phc, HashParameters(iterations=2, memory_kib=64, lanes=1))
    assert outdated("plain", CHEAP)


@pytest.mark.parametrize("length", [0, 7, 257])
def test_too_short_and_too_long_are_refused(length: int) -> None:
    """Code points, not bytes: the contract's bound for a person who writes in any script."""
    with pytest.raises(InvalidArgument) as refused:
        check_new_password(Secret("ä" * length), "new_password")
    assert refused.value.violations[0].field == "new_password"


def test_eight_to_256_characters_are_accepted() -> None:
    """No rules about kinds of characters (NIST 800-63B)."""
    check_new_password(Secret("ä" * 8), "password")
    check_new_password(Secret("🔑" * 256), "password")


def test_a_new_password_is_another_one() -> None:
    """A one-time password that stays is no one-time password."""
    with pytest.raises(FailedPrecondition) as refused:
        check_changed(Secret("same same"), Secret("same same"))
    assert refused.value.reason == "PASSWORD_REFUSED"
