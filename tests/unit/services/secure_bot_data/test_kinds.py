"""Which fields each kind of secret takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from mesh.secret import Secret
from services.secure_bot_data.domain.kinds import MAX_TOTAL_BYTES, SHAPES, check_fields
from services.secure_bot_data.domain.model import SecretKind

VALUE = "do-not-show-this"
NAMES = sorted(
    {name for shape in SHAPES.values() for name in shape.known if name != "expires_at"} | {"other"}
)


def fields(*names: str) -> dict[str, Secret]:
    return {name: Secret(VALUE) for name in names}


def broken(kind: SecretKind, given_fields: dict[str, Secret]) -> list[str]:
    """Fields that the refusal names."""
    with pytest.raises(InvalidArgument) as caught:
        check_fields(kind, given_fields)
    assert caught.value.reason == "INVALID_FIELD"
    assert VALUE not in repr(caught.value) + str(caught.value.violations)
    return [violation.field for violation in caught.value.violations]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (SecretKind.X_OAUTH1, ("consumer_key", "consumer_secret", "access_token", "access_token_secret")),
        (SecretKind.X_OAUTH2, ("access_token",)),
        (SecretKind.X_OAUTH2, ("access_token", "refresh_token", "client_id", "client_secret", "scope")),
        (SecretKind.X_APP, ("consumer_key", "consumer_secret")),
        (SecretKind.X_APP, ("client_id", "client_secret", "bearer_token")),
        (SecretKind.GENERIC, ("whatever", "else")),
    ],
)
def test_complete_fields_are_taken(kind: SecretKind, names: tuple[str, ...]) -> None:
    """The contract's own list of fields by kind."""
    check_fields(kind, fields(*names))


def test_every_missing_and_every_foreign_field_is_named() -> None:
    """One round trip must be enough to repair a form."""
    assert broken(SecretKind.X_OAUTH1, fields("consumer_key", "access_token", "pin")) == [
        "fields['access_token_secret']",
        "fields['consumer_secret']",
        "fields['pin']",
    ]


def test_half_a_pair_is_no_app() -> None:
    """A key without its secret signs nothing."""
    assert broken(SecretKind.X_APP, fields("consumer_key")) == ["fields['consumer_secret']"]
    assert broken(SecretKind.X_APP, fields("client_id", "client_secret", "consumer_secret")) == [
        "fields['consumer_key']"
    ]
    assert broken(SecretKind.X_APP, fields("bearer_token")) == ["fields"]


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+00:00"])
def test_expires_at_is_a_utc_time(time: str) -> None:
    """The refresher computes with it."""
    check_fields(SecretKind.X_OAUTH2, {**fields("access_token"), "expires_at": Secret(time)})


@pytest.mark.parametrize("time", ["soon", "2026-01-01T00:00:00", "2026-01-01T00:00:00+01:00", VALUE])
def test_any_other_expires_at_is_refused(time: str) -> None:
    """A local or nameless time would refresh hours too late."""
    assert broken(SecretKind.X_OAUTH2, {**fields("access_token"), "expires_at": Secret(time)}) == [
        "fields['expires_at']"
    ]


def test_empty_and_oversized_secrets_are_refused() -> None:
    """The contract's bound holds for all values together."""
    assert broken(SecretKind.GENERIC, {}) == ["fields"]
    half = Secret("ä" * (MAX_TOTAL_BYTES // 4))
    check_fields(SecretKind.GENERIC, {"a": half, "b": half})
    assert broken(SecretKind.GENERIC, {"a": half, "b": half, "c": Secret(VALUE)}) == ["fields"]


@given(kind=st.sampled_from(list(SHAPES)), names=st.sets(st.sampled_from(NAMES), min_size=1))
def test_what_is_taken_is_complete_and_nothing_else(kind: SecretKind, names: set[str]) -> None:
    """Readers of a kind rely on its fields without looking."""
    shape = SHAPES[kind]
    complete = (
        shape.required <= names <= shape.known
        and all(len(names & set(pair)) != 1 for pair in shape.pairs)
        and (not shape.pairs or any(set(pair) <= names for pair in shape.pairs))
    )
    try:
        check_fields(kind, fields(*names))
    except InvalidArgument:
        assert not complete
    else:
        assert complete
