"""The first administrator's password on its way to authentication, and nowhere else.

Given by VIVESPHERE_ADMIN_PASSWORD or VIVESPHERE_ADMIN_PASSWORD_FILE, or made up, shown once and good for one sign-in. It
travels as a file of mode 0600 that is gone as soon as authentication has taken it; a marker remembers that this has happened.
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.layout import DataDir, write_private

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 characters that are not taken for one another
_GROUPS, _GROUP_LENGTH = 4, 5  # 100 bits


@dataclass(frozen=True, slots=True)
class FirstUser:
    """What authentication's first start is given; `one_time_password` is set when we made it up."""

    environment: Mapping[str, str]
    file: Path | None = None
    one_time_password: str | None = None

    def __repr__(self) -> str:
        return "FirstUser(…)"


def prepare_first_user(data: DataDir, environ: Mapping[str, str] = os.environ) -> FirstUser:
    """Decides where the first password comes from; nothing is prepared once a first start has gone well."""
    if _marker(data).exists():
        return FirstUser({})
    if path := environ.get("VIVESPHERE_ADMIN_PASSWORD_FILE"):
        return FirstUser({"VIVESPHERE_ADMIN_PASSWORD_FILE": str(Path(path).absolute())})
    file = data.secret("authentication", "first_password")
    if password := environ.get("VIVESPHERE_ADMIN_PASSWORD"):
        write_private(file, password)
        return FirstUser({"VIVESPHERE_ADMIN_PASSWORD_FILE": str(file)}, file)
    made = _made_up()
    write_private(file, made)
    return FirstUser({"VIVESPHERE_ADMIN_ONE_TIME_PASSWORD_FILE": str(file)}, file, made)


def finish_first_user(data: DataDir, user: FirstUser) -> None:
    """Called when authentication is ready: removes our copy of the password and remembers that the user exists."""
    if user.file is not None:
        user.file.unlink(missing_ok=True)
    if user.environment:
        write_private(_marker(data), "")


def discard_first_user(user: FirstUser) -> None:
    """Removes our copy of the password after a start that failed; the next start makes another."""
    if user.file is not None:
        user.file.unlink(missing_ok=True)


def _marker(data: DataDir) -> Path:
    return data.secret("setup", "first_user_made")


def _made_up() -> str:
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)
