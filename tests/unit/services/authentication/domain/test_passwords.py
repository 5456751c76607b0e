"""Passwords: hashed as given, at a cost that travels with the hash."""

import gzip
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mesh.errors import FailedPrecondition, InvalidArgument
from mesh.secret import Secret
from services.authentication.domain.common_passwords import FILE, is_common
from services.authentication.domain.passwords import (
    ONE_TIME_ALPHABET,
    HashParameters,
    PasswordPolicy,
    check_changed,
    guessable,
    hash_password,
    one_time_password,
    outdated,
    verify_password,
)

POLICY = PasswordPolicy()
LISTED = gzip.decompress(FILE.read_bytes()).decode().splitlines()
CHEAP = HashParameters(iterations=1, memory_kib=64, lanes=1)


def test_only_the_exact_password_fits() -> None:
    """Neither blanks nor case nor an equivalent spelling may be forgiven: each would be one more guess for free."""
    phc = hash_password(Secret(" Pass wörd "), CHEAP)
    assert verify_password(Secret(" Pass wörd "), phc)
    for wrong in ("Pass wörd", " Pass wörd", " pass wörd ", " Pass wo\u0308rd ", " Pass  wörd ", ""):
        assert not verify_password(Secret(wrong), phc)


def test_a_decomposed_password_is_another_one() -> None:
    """As documented: normal forms are the client's, and a library that changes its tables must not lock anybody out."""
    phc = hash_password(Secret("cafe\u0301 cafe\u0301"), CHEAP)
    assert verify_password(Secret("cafe\u0301 cafe\u0301"), phc)
    assert not verify_password(Secret("café café"), phc)


@pytest.mark.parametrize("end", ["\0", "\0tail", "\ntail", "\x1atail", "\udc80"])
def test_nothing_ends_a_password_but_its_end(end: str) -> None:
    """Libraries written in C stop at a NUL, and then "secret" opens what only the whole of it should."""
    phc = hash_password(Secret("long enough" + end), CHEAP)
    assert verify_password(Secret("long enough" + end), phc)
    for wrong in ("long enough", "long enough" + end[:-1], "long enough" + end + "x"):
        assert not verify_password(Secret(wrong), phc)


def test_the_same_password_has_another_hash_each_time() -> None:
    """Equal hashes would tell who shares a password."""
    assert hash_password(Secret("x" * 8), CHEAP) != hash_password(Secret("x" * 8), CHEAP)


def test_a_long_password_counts_to_its_last_character() -> None:
    """Some hashes look at the first 72 bytes only."""
    for filler in ("a", "é", "🔑"):
        phc = hash_password(Secret(filler * 255 + "b"), CHEAP)
        assert verify_password(Secret(filler * 255 + "b"), phc)
        for wrong in (filler * 255 + "c", filler * 255, filler * 72, filler * 255 + "bb"):
            assert not verify_password(Secret(wrong), phc)


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
        POLICY.check_new(Secret("ä" * length), "new_password")
    assert refused.value.violations[0].field == "new_password"


def test_eight_to_256_characters_are_accepted() -> None:
    """No rules about kinds of characters (NIST 800-63B)."""
    POLICY.check_new(Secret("ä" * 8), "password")
    POLICY.check_new(Secret("🔑" * 256), "password")
    POLICY.check_new(Secret("qx" * 4), "password")


def test_a_new_password_is_another_one() -> None:
    """A one-time password that stays is no one-time password."""
    with pytest.raises(FailedPrecondition) as refused:
        check_changed(Secret("same same"), Secret("same same"))
    assert refused.value.reason == "PASSWORD_REFUSED"


def test_the_list_is_as_its_tool_writes_it() -> None:
    """Sorted, folded, each once, and none that the length alone would refuse."""
    assert len(LISTED) >= 16_000
    assert sorted(set(LISTED)) == LISTED
    assert all(word == word.casefold() and len(word) >= 8 for word in LISTED)


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_every_password_of_the_list_is_refused_in_any_case(case: object) -> None:
    """They are what a guesser tries first, and capitals are what a guesser tries second."""
    assert all(is_common(case(word)) for word in LISTED[::97])  # type: ignore[operator]  # parametrized
    assert is_common(LISTED[0])
    assert is_common(LISTED[-1])


def test_the_refusal_names_the_field_and_not_the_password() -> None:
    """It travels to clients and into logs."""
    for password in ("Password123", "ViveSphere!"):
        with pytest.raises(FailedPrecondition) as refused:
            POLICY.check_new(Secret(password), "new_password")
        assert refused.value.reason == "PASSWORD_REFUSED"
        assert refused.value.violations[0].field == "new_password"
        assert password.casefold() not in str(refused.value).casefold()


def test_two_words_of_the_list_are_no_word_of_it() -> None:
    """The list is looked through as one text; its lines must not run together."""
    assert not is_common(f"{LISTED[7]}\n{LISTED[8]}")
    assert not is_common(LISTED[7] + "\n")
    assert not is_common(LISTED[7][:-1] + "\x00")


@given(st.text(st.characters(exclude_categories=("C",)), min_size=8, max_size=256))
def test_any_other_text_is_a_password(text: str) -> None:
    """No rules about kinds of characters (NIST 800-63B): they make passwords worse."""
    folded = text.casefold()
    assume(folded not in set(LISTED) and "v" not in folded and "b" not in folded)  # no name of the product
    POLICY.check_new(Secret(text), "password")


@pytest.mark.parametrize(
    "password",
    [
        "vivesphere",
        "ViveSphere1",
        "V1v3Sph3r3",
        "vivesphere2026",
        "!vivesphere42",
        "#1ViVeSpHeRe!",
        "VIVESPHERE$$$$",
        "botmanager",
        "Bot Manager 26",
        "B0tM@n@g3r",
        "vivesphere bot manager!",
        "annabella",
        "@nnabe11a",
        "2026Annabella",
        "annabella....",
        "Ann Abel-Land",
        "annabelland1",
        "ACME-Works",
        "4cm3w0rk5",
        "acme-works 26",
    ],
)
def test_a_name_with_hardly_anything_around_it_is_refused(password: str) -> None:
    """Of product, company, user name or display name, also in leet."""
    policy = PasswordPolicy(context_words=("Acme-Works",))
    with pytest.raises(FailedPrecondition):
        policy.check_new(Secret(password), "password", "annabella", "Ann Abel-Land")


@pytest.mark.parametrize(
    "password",
    [
        "vivesphere20261",
        "my vivesphere",
        "vivespheres",
        "vive-sphere ax",
        "annabella and bob",
        "annabe",
        "xx annabella",
        "12annabella345",
        "annabel1",
    ],
)
def test_a_name_within_something_longer_is_a_password(password: str) -> None:
    """The rule is for what is guessed at once, not for every password that holds a word."""
    assert guessable(Secret(password), ("annabella", "")) is None


def test_a_one_time_password_cannot_be_guessed_and_can_be_read_out() -> None:
    """At least 128 bits, as the contract says, in characters that are not taken for one another."""
    made = one_time_password().reveal()
    groups = made.split("-")
    assert sum(len(group) for group in groups) * 5 >= 128
    assert len(set(ONE_TIME_ALPHABET)) == 32
    assert not set("01lo") & set(ONE_TIME_ALPHABET)
    assert set("".join(groups)) <= set(ONE_TIME_ALPHABET) <= {*string.ascii_lowercase, *string.digits}
    assert one_time_password() != Secret(made)
    POLICY.check_new(Secret(made), "password")
