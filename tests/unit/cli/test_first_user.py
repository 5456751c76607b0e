"""The first administrator's password."""

import stat
from pathlib import Path

import pytest

from cli.environment import inherited
from cli.first_user import discard_first_user, finish_first_user, prepare_first_user
from cli.layout import DataDir


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data")


def everything_in(data: DataDir) -> str:
    return "\n".join(path.read_text() for path in data.root.rglob("*") if path.is_file())


def test_a_made_up_password_is_a_private_file_until_it_is_used(data: DataDir) -> None:
    """After the first start nobody may read it from the disk."""
    user = prepare_first_user(data, {})
    file = Path(user.environment["VIVESPHERE_ADMIN_ONE_TIME_PASSWORD_FILE"])
    assert user.one_time_password
    assert file.read_text() == user.one_time_password
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert user.one_time_password not in repr(user)
    finish_first_user(data, user)
    assert user.one_time_password not in everything_in(data)


def test_a_password_is_made_up_only_once(data: DataDir) -> None:
    """A second start must not print a password that does not work."""
    finish_first_user(data, prepare_first_user(data, {}))
    assert prepare_first_user(data, {}).environment == {}


def test_a_start_that_failed_leaves_no_password_and_may_be_repeated(data: DataDir) -> None:
    """The user was not made, so the next start needs a password again."""
    first = prepare_first_user(data, {})
    discard_first_user(first)
    assert everything_in(data) == ""
    assert prepare_first_user(data, {}).one_time_password not in (None, first.one_time_password)


def test_a_given_password_travels_as_a_file(data: DataDir) -> None:
    """The environment of a process can be read by others of the same user, and lands in crash dumps."""
    user = prepare_first_user(data, {"VIVESPHERE_ADMIN_PASSWORD": "correct horse"})
    assert user.one_time_password is None
    assert Path(user.environment["VIVESPHERE_ADMIN_PASSWORD_FILE"]).read_text() == "correct horse"
    finish_first_user(data, user)
    assert "correct horse" not in everything_in(data)


def test_a_given_file_is_passed_on_and_kept(data: DataDir, tmp_path: Path) -> None:
    """It is the user's file, not ours."""
    file = tmp_path / "mine"
    file.write_text("correct horse")
    user = prepare_first_user(data, {"VIVESPHERE_ADMIN_PASSWORD_FILE": str(file)})
    assert user.environment == {"VIVESPHERE_ADMIN_PASSWORD_FILE": str(file)}
    finish_first_user(data, user)
    assert file.exists()


def test_secrets_and_strangers_variables_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only authentication may see the password, and nobody's library may be steered from outside."""
    for name in (
        "VIVESPHERE_ADMIN_PASSWORD",
        "PGOPTIONS",
        "VAULT_TOKEN",
        "VIVESPHERE_VAULT_KV_MOUNT",
        "NATS_URL",
    ):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("VIVESPHERE_LOG_LEVEL", "DEBUG")
    environment = inherited()
    assert "x" not in environment.values()
    assert environment["VIVESPHERE_LOG_LEVEL"] == "DEBUG"
