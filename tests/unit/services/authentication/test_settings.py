"""Where the first administrator's password comes from."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mesh.secret import Secret
from services.authentication.domain.passwords import HashParameters, PasswordPolicy
from services.authentication.domain.session import Lifetimes
from services.authentication.domain.throttle import Rules
from services.authentication.settings import (
    DEFINITIONS,
    HASH_ITERATIONS,
    HASH_LANES,
    HASH_MEMORY,
    AuthenticationSettings,
    Numbers,
)

VARIABLES = ("ADMIN_PASSWORD", "ADMIN_PASSWORD_FILE", "ADMIN_ONE_TIME_PASSWORD_FILE")


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"VIVESPHERE_{name}", raising=False)


def test_a_given_password_goes_before_a_one_time_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who names a password means it."""
    file = tmp_path / "one_time"
    file.write_text("one time password\n")
    monkeypatch.setenv("VIVESPHERE_ADMIN_ONE_TIME_PASSWORD_FILE", str(file))
    first = AuthenticationSettings().first_password()
    assert first is not None
    assert (first.password, first.one_time) == (Secret("one time password"), True)
    monkeypatch.setenv("VIVESPHERE_ADMIN_PASSWORD", "given password")
    settings = AuthenticationSettings()
    first = settings.first_password()
    assert first is not None
    assert (first.password, first.one_time) == (Secret("given password"), False)
    assert "given password" not in repr(settings)


def test_nothing_given_is_no_password() -> None:
    """Then no user is made, rather than one with a known password."""
    assert AuthenticationSettings().first_password() is None


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.key)
def test_defaults_keep_their_own_schema(definition: object) -> None:
    """A default out of bounds would stop the start."""
    jsonschema.validate(definition.default, definition.json_schema)  # type: ignore[attr-defined]  # parametrized
    assert definition.key.startswith("authentication.")  # type: ignore[attr-defined]  # parametrized


class Defaults:
    """Configuration that was never heard of."""

    def value(self, definition: Any) -> Any:
        return definition.default


def test_the_domain_s_own_defaults_are_those_of_the_settings() -> None:
    """What tests of the domain prove holds for an installation that changes nothing."""
    numbers = Numbers(Defaults())  # type: ignore[arg-type]  # all that is asked of it
    assert numbers.throttle() == Rules()
    assert numbers.password_policy() == PasswordPolicy()
    assert numbers.lifetimes() == Lifetimes()
    assert numbers.hash_cost() == HashParameters()


@pytest.mark.parametrize(
    ("iterations", "memory_kib", "lanes"), [(1, 2_097_152, 4), (3, 65_536, 4), (2, 19_456, 1), (1, 47_104, 1)]
)
def test_what_the_standards_recommend_can_be_set(iterations: int, memory_kib: int, lanes: int) -> None:
    """RFC 9106 section 4, both choices, and OWASP's."""
    for definition, value in ((HASH_ITERATIONS, iterations), (HASH_MEMORY, memory_kib), (HASH_LANES, lanes)):
        jsonschema.validate(value, definition.json_schema)


def test_every_setting_says_what_it_is_for() -> None:
    """Whoever changes a number has to know what it bounds."""
    assert len({definition.key for definition in DEFINITIONS}) == len(DEFINITIONS)
    assert all(len(definition.description) > 40 for definition in DEFINITIONS)
