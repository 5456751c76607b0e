"""The `vivesphere` command line: arguments in, one function call, exit code out.

Exit codes: 0 well, 1 a failure that is explained on stderr, 2 wrong usage, 3 nothing runs (`status`). What starts or prepares
engines is imported by the command that needs it: gRPC, NATS, Vault and database clients together take a second to load.
"""

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.audit import audit
from cli.environment import inherited, python_module
from cli.errors import CliError
from cli.layout import DataDir
from cli.logs import logs
from cli.ports import require_free
from cli.registry import PROJECT_ROOT, load_registry
from cli.settings import settings
from cli.state import read_state, running_pid
from cli.status import ProcessLine, process_lines, stop_running
from cli.vault_command import vault
from cli.view import View

NOTHING_RUNS = 3
SetupStep = Literal["pki", "database", "nats", "vault", "all"]
MINUTE, HOUR = 60, 3600

app = typer.Typer(
    name="vivesphere",
    help="ViveSphere Bot Manager on this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # their local variables may be secrets
)

users = typer.Typer(
    help="Accounts, from the machine itself.", no_args_is_help=True, pretty_exceptions_enable=False
)
app.add_typer(users, name="users")
app.add_typer(logs, name="logs")
app.add_typer(settings, name="settings")
app.add_typer(audit, name="audit")
app.add_typer(vault, name="vault")

DataDirOption = Annotated[
    Path, typer.Option("--data-dir", envvar="VIVESPHERE_DATA_DIR", help="Where everything is kept.")
]
SandboxPortOption = Annotated[
    int,
    typer.Option("--sandbox-port", envvar="VIVESPHERE_SANDBOX_PORT", help="Port of the X sandbox; 0: any."),
]

_console = Console()
_errors = Console(stderr=True)


@contextmanager
def _explained() -> Iterator[None]:
    """Failures a person can act on become one message and exit code 1; anything else is a defect and keeps its trace."""
    try:
        yield
    except (CliError, TimeoutError) as error:
        _errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except PermissionError as error:
        _errors.print(f"[red]error:[/] not permitted: {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except (NotADirectoryError, FileExistsError) as error:
        _errors.print(f"[red]error:[/] not a directory: {error.filename}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


@app.command()
def up(
    data_dir: DataDirOption = Path(".vivesphere"),
    http_port: Annotated[
        int, typer.Option(envvar="VIVESPHERE_HTTP_PORT", help="Port of console and REST; 0: any.")
    ] = 8080,
    grpc_port: Annotated[
        int, typer.Option(envvar="VIVESPHERE_GRPC_PORT", help="Port of gRPC; 0: any.")
    ] = 9090,
    sandbox_port: SandboxPortOption = 8090,
    sandbox: Annotated[bool, typer.Option(help="Run the local X sandbox and publish to it.")] = True,
) -> None:
    """Start everything and keep it running until Ctrl-C."""
    from cli.up import Running, UpOptions, run_up

    options = UpOptions(
        data_dir=data_dir,
        http_port=http_port,
        grpc_port=grpc_port,
        sandbox_port=sandbox_port if sandbox else None,
        http_host=os.environ.get("VIVESPHERE_HTTP_HOST", "127.0.0.1"),
        grpc_host=os.environ.get("VIVESPHERE_GRPC_HOST", "127.0.0.1"),
    )
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # nats-py closing a TLS connection makes it warn

    with _explained(), View(_console) as view:

        def announce(running: Running) -> None:
            view.rest()
            _announce(view, running.console, running.grpc, running.sandbox, running.one_time_password)

        asyncio.run(run_up(options, view.show, announce))


def _announce(
    view: View, console: str, grpc: str, sandbox: str | None, one_time_password: str | None
) -> None:
    view.say("")
    view.say(f"[bold]Console[/]    {console}")
    view.say(f"[bold]gRPC[/]       {grpc}")
    if sandbox is not None:
        view.say(f"[bold]X sandbox[/]  {sandbox}")
    if one_time_password is not None:
        view.say(
            f"[bold]Sign in[/]    admin / {one_time_password}   (shown once)\n"
            f"           It has to be changed before anything else: POST {console}api/v1/auth/password:change"
        )
    view.say("\nCtrl-C stops everything.")


@app.command()
def status(data_dir: DataDirOption = Path(".vivesphere")) -> None:
    """Show what runs: processes, memory, ports and addresses."""
    data = DataDir(data_dir.absolute())
    with _explained():
        pid = running_pid(data)
    state = read_state(data)
    if pid is None or "pid" not in state.supervisor:
        _console.print(f"nothing runs on {data.root}", highlight=False, soft_wrap=True)
        raise typer.Exit(NOTHING_RUNS)
    table = Table("process", "pid", "up", "memory", "ports", box=None, pad_edge=False)
    for line in process_lines(state):
        table.add_row(*_cells(line))
    _console.print(table)
    for name, address in state.addresses.items():
        _console.print(f"{name}  {address}", highlight=False, soft_wrap=True)


def _cells(line: ProcessLine) -> tuple[str, str, str, str, str]:
    if line.pid is None:
        return line.name, "-", "waits for its restart", "-", ", ".join(line.ports)
    memory = "-" if line.memory_mib is None else f"{line.memory_mib:.0f} MiB"
    return line.name, str(line.pid), _duration(line.uptime_seconds), memory, ", ".join(line.ports)


def _duration(seconds: float) -> str:
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min"
    return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"


@app.command()
def down(data_dir: DataDirOption = Path(".vivesphere")) -> None:
    """Stop what `up` has started on the data directory."""
    data = DataDir(data_dir.absolute())
    with _explained():
        stopped = stop_running(data)
    _console.print("stopped" if stopped else f"nothing runs on {data.root}", highlight=False, soft_wrap=True)


@app.command()
def sandbox(port: SandboxPortOption = 8090) -> None:
    """Run the X sandbox alone, in the foreground."""
    with _explained():
        chosen = require_free(port, "the X sandbox", "--sandbox-port")
    environment = inherited() | {"VIVESPHERE_SANDBOX_PORT": str(chosen)}
    os.chdir(PROJECT_ROOT)
    command = python_module("sandbox")
    os.execve(command[0], command, environment)  # noqa: S606 - our own module, no shell


@app.command()
def demo(
    url: Annotated[
        str | None,
        typer.Option(help="REST address of a running mesh; without it the demo starts one of its own."),
    ] = None,
    sandbox_url: Annotated[
        str, typer.Option(help="The X sandbox that the running mesh publishes to.")
    ] = "http://127.0.0.1:8090",
    username: Annotated[str, typer.Option(help="Who signs in to the running mesh.")] = "admin",
    password_file: Annotated[
        Path | None,
        typer.Option(
            envvar="VIVESPHERE_DEMO_PASSWORD_FILE",
            help="File with that user's password; asked for when left out.",
        ),
    ] = None,
) -> None:
    """Publish posts through the public REST API and show that each arrived at X exactly once."""
    from cli.demo_command import run_against, run_alone

    with _explained():
        if url is None:
            run_alone(_console)
        else:
            if password_file is None:
                password = typer.prompt(f"Password of {username}", hide_input=True)
            else:
                password = password_file.read_text(encoding="utf-8").strip()
            run_against(_console, url, sandbox_url, username, password)


@users.command("reset-password")
def reset_password(
    username: Annotated[str, typer.Argument(help="Whose password is replaced.")],
    disable_totp: Annotated[
        bool, typer.Option("--disable-totp", help="Forget the second factor too.")
    ] = False,
    data_dir: DataDirOption = Path(".vivesphere"),
) -> None:
    """Replace a password by a one-time password and print it, for a user who is locked out."""
    from cli.users import reset_password as reset

    with _explained():
        code = reset(DataDir(data_dir.absolute()), username, disable_totp=disable_totp)
    raise typer.Exit(code)


@app.command()
def setup(
    step: Annotated[SetupStep, typer.Argument(help="pki, database, nats, vault, or all of them.")] = "all",
    data_dir: DataDirOption = Path(".vivesphere"),
) -> None:
    """Prepare engines that run elsewhere; settings come from VIVESPHERE_SETUP_* variables."""
    from cli.setup.command import SetupSettings, run_step

    with _explained():
        run_step(step, DataDir(data_dir.absolute()), SetupSettings(), load_registry())


if __name__ == "__main__":
    app()
