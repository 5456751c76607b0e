"""Who asks a running mesh, and where it is: what every command shares that speaks its public REST API.

A credential comes from VIVESPHERE_TOKEN, from a file, or from a user name with a password that is asked for or read from a file; never
from the command line, where every process of the machine could read it. Exit codes: 0 done, 1 refused or failed, with the server's reason
and fields on stderr, 2 wrong usage.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from cli.errors import CliError

if TYPE_CHECKING:
    from cli.rest import Api

TOKEN = "VIVESPHERE_TOKEN"  # noqa: S105 - the name of a variable
_errors = Console(stderr=True)


@dataclass(slots=True)
class Access:
    """Where the mesh is and who asks it."""

    url: str
    token_file: Path | None
    username: str | None
    password_file: Path | None
    typed: str = field(default="", repr=False)
    """The password, once it was asked for."""

    def credential(self, api: "Api") -> str:
        """Make `api` carry a credential, read anew or signed in for. Returns what tells it from another one."""
        if self.token_file is not None:
            token = self.token_file.read_text(encoding="utf-8").strip()
        elif self.username is not None:
            token = str(api.sign_in(self.username, self._password())["accessToken"])
        else:
            token = os.environ.get(TOKEN, "").strip()
            if not token:
                raise typer.BadParameter(f"who are you? Set {TOKEN}, or give --token-file or --username")
        api.carry(token)
        return token

    def _password(self) -> str:
        if self.password_file is not None:
            return self.password_file.read_text(encoding="utf-8").strip()
        self.typed = self.typed or str(
            typer.prompt(f"Password of {self.username}", hide_input=True, err=True)
        )
        return self.typed


def access(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="VIVESPHERE_URL", help="REST address of the mesh.")
    ] = "http://127.0.0.1:8080",
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="VIVESPHERE_TOKEN_FILE",
            help=f"File with an access token or API key; else {TOKEN} is used.",
        ),
    ] = None,
    username: Annotated[str | None, typer.Option(help="Sign in as this user instead.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the user's password; asked for when left out.")
    ] = None,
) -> None:
    """Callback of a command group that asks a running mesh: where it is and who asks."""
    context.obj = Access(url, token_file, username, password_file)


@contextmanager
def signed_in(context: typer.Context, timeout_seconds: float | None = None) -> Iterator["Api"]:
    """The REST API as whoever asks; what fails is told and ends the program with 1.

    `timeout_seconds`: how long an answer may take; None: as long as usual.
    """
    import httpx

    from cli.rest import TIMEOUT_SECONDS, Api, ApiError

    who: Access = context.obj
    try:
        with Api(who.url, timeout_seconds or TIMEOUT_SECONDS) as api:
            who.credential(api)
            yield api
            if who.username is not None:
                api.post("/api/v1/auth/logout", {})  # nobody else knows the session
    except ApiError as error:
        tell(f"refused: {error.message or error} {f'({error.reason})' if error.reason else ''}".rstrip())
        for field, description in error.violations:
            tell(f"  {field}: {description}")
        raise typer.Exit(1) from None
    except httpx.HTTPError as error:
        tell(f"error: {who.url} does not answer: {error}")
        raise typer.Exit(1) from None
    except (CliError, OSError, UnicodeError) as error:
        tell(f"error: {error}")
        raise typer.Exit(1) from None


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def tell(text: str) -> None:
    _errors.print(escape(text), highlight=False, soft_wrap=True)
