"""What can be set about the sandbox, all of it from the environment.

The sandbox holds only made-up keys, so there is no secret to configure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "VIVESPHERE_SANDBOX_"


class BadSetting(ValueError):
    """An environment variable has a value the sandbox cannot use; the message names the variable."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Start-up settings; `from_environment` reads each from `VIVESPHERE_SANDBOX_<NAME>`."""

    host: str = "127.0.0.1"
    """Address to listen on. Loopback, since control paths need no sign-in."""

    port: int = 8090
    """TCP port, 0 to 65535. 0 lets the system choose; the ready line tells which."""

    rate_limits: bool = True
    """`on` or `off`. Off still reports limits in headers but counts nothing and refuses nothing."""

    duplicate_window_seconds: int = 900
    """How long the same text by the same user is refused as a duplicate. X does not publish its own window."""

    access_token_seconds: int = 7200
    """How long an access token of OAuth 2.0 lasts; X's last two hours."""

    state_file: Path | None = None
    """JSON-lines file that keeps accounts and posts over a restart. Unset: memory only."""


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings; a variable that is unset or empty keeps its default.

    Raises:
        BadSetting: a value is outside what its field describes.
    """
    given = {
        name.removeprefix(PREFIX): value
        for name, value in environment.items()
        if value and name.startswith(PREFIX)
    }
    default = Settings()
    state_file = given.get("STATE_FILE")
    return Settings(
        host=given.get("HOST", default.host),
        port=_whole(given, "PORT", default.port, most=65535),
        rate_limits=_switch(given, "RATE_LIMITS", default.rate_limits),
        duplicate_window_seconds=_whole(
            given, "DUPLICATE_WINDOW_SECONDS", default.duplicate_window_seconds, most=86400
        ),
        access_token_seconds=_whole(given, "ACCESS_TOKEN_SECONDS", default.access_token_seconds, most=86400),
        state_file=Path(state_file) if state_file else None,
    )


def _whole(given: Mapping[str, str], name: str, default: int, *, most: int) -> int:
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and int(text) <= most):
        raise BadSetting(f"{PREFIX}{name} must be a whole number from 0 to {most}, not {text!r}")
    return int(text)


def _switch(given: Mapping[str, str], name: str, default: bool) -> bool:
    text = given.get(name, "on" if default else "off")
    if text not in {"on", "off"}:
        raise BadSetting(f"{PREFIX}{name} must be on or off, not {text!r}")
    return text == "on"
