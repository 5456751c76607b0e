"""Where the first administrator's password comes from."""

from pathlib import Path

import jsonschema
import pytest

from mesh.secret import Secret
from services.authentication.settings import DEFINITIONS, AuthenticationSettings

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
