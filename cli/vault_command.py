"""`vivesphere vault …`: prepare a Vault or OpenBao that is there already, or see the policies to apply them oneself.

The administrator's token comes from a file only: a command line is shown to every process of the machine, and an environment ends up in
crash dumps. Exit codes as everywhere: 0 done, 1 refused or failed, with the reason on stderr, 2 wrong usage.
"""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cli.errors import CliError
from cli.layout import DataDir
from cli.registry import load_registry
from mesh.secret import Secret
from mesh.vault_names import VaultNames

vault = typer.Typer(
    help="A Vault or OpenBao of your own.", no_args_is_help=True, pretty_exceptions_enable=False
)
_STATES = {
    0: "does not answer, or its certificate is not of an authority that is trusted here",
    429: "is a standby: give the address of the active node",
    472: "is a standby of another cluster: give the address of the active node",
    473: "is a standby: give the address of the active node",
    501: "is not initialised yet",
    503: "is sealed",
}
_console = Console()
_errors = Console(stderr=True)

KvMountOption = Annotated[str, typer.Option(help="Mount of KV version 2.")]
KvPrefixOption = Annotated[str, typer.Option(help="First segment of the path of bots' secrets.")]
TransitMountOption = Annotated[str, typer.Option(help="Mount of Transit.")]


@vault.command()
def setup(
    address: Annotated[str, typer.Option(help="https://host:port of the vault.")],
    token_file: Annotated[Path, typer.Option(help="File with an administrator's token.")],
    ca_file: Annotated[
        Path | None, typer.Option(help="Who has signed its certificate; public authorities when left out.")
    ] = None,
    kv_mount: KvMountOption = VaultNames.kv_mount,
    kv_prefix: KvPrefixOption = VaultNames.kv_prefix,
    transit_mount: TransitMountOption = VaultNames.transit_mount,
    approle_mount: Annotated[
        str, typer.Option(help="Mount of the AppRole method.")
    ] = VaultNames.approle_mount,
    role_prefix: Annotated[
        str, typer.Option(help="What names of AppRoles and policies begin with.")
    ] = VaultNames.role_prefix,
    data_dir: Annotated[
        Path,
        typer.Option(
            envvar="VIVESPHERE_DATA_DIR", help="Login files are written below secrets/<service> of it."
        ),
    ] = Path(".vivesphere"),
    wrap_ttl: Annotated[
        str | None,
        typer.Option(help="Write wrapped secret ids, which open once within this time, such as 10m."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be changed, and change nothing.")
    ] = False,
) -> None:
    """Make mounts, keys, policies, AppRoles and login files; what is right already stays as it is."""
    names = VaultNames(kv_mount, kv_prefix, transit_mount, approle_mount, role_prefix)
    data = DataDir(data_dir.absolute())

    def run() -> None:
        from cli.setup.vault import connect, prepare_vault

        token = _secret(token_file)
        _require_active(address, ca_file)
        client = connect(address, ca_file, token.reveal())
        steps = prepare_vault(client, data, load_registry(), names, wrap_ttl=wrap_ttl, dry_run=dry_run)
        word = "would make" if dry_run else "made"
        changes = [step.what for step in steps if not step.right]
        for what in changes:
            _say(f"{word}  {what}")
        _say(f"{len(steps) - len(changes)} of {len(steps)} were right already")

    _explained(run)


@vault.command()
def policy(
    service: Annotated[str, typer.Argument(help="Name of the service, such as secure_bot_data.")],
    kv_mount: KvMountOption = VaultNames.kv_mount,
    kv_prefix: KvPrefixOption = VaultNames.kv_prefix,
    transit_mount: TransitMountOption = VaultNames.transit_mount,
) -> None:
    """Print the policy that a service needs, for people who apply policies themselves."""

    def run() -> None:
        from cli.setup.vault_policies import policy_text

        users = {entry.name: entry for entry in load_registry() if entry.vault}
        if service not in users:
            raise CliError(f"no service {service} uses the vault; there are: {', '.join(users)}")
        names = VaultNames(kv_mount=kv_mount, kv_prefix=kv_prefix, transit_mount=transit_mount)
        typer.echo(policy_text(users[service], names), nl=False)

    _explained(run)


def _secret(file: Path) -> Secret:
    try:
        return Secret.from_file(file)
    except ValueError as error:
        raise CliError(str(error)) from None


def _require_active(address: str, ca_file: Path | None) -> None:
    """Raises CliError for a vault that cannot be prepared now, before the token goes anywhere."""
    from cli.setup.vault_init import health
    from mesh.vault.link import checked_address

    try:
        status = health(checked_address(address), ca_file)
    except ValueError as error:
        raise CliError(str(error)) from None
    if status != HTTPStatus.OK:
        raise CliError(f"the vault {_STATES.get(status, f'is not well: its health is {status}')}")


def _say(text: str) -> None:
    _console.print(escape(text), highlight=False, soft_wrap=True)


def _explained(run: Callable[[], None]) -> None:
    """What a person can act on becomes one line without the vault's own words, which may name what they protect."""
    import hvac.exceptions
    import requests

    try:
        run()
        return
    except CliError as error:
        message = str(error)
    except OSError as error:
        if isinstance(error, requests.RequestException):
            message = f"the vault does not answer ({type(error).__name__})"
        else:
            message = f"{error.strerror}: {error.filename}"
    except hvac.exceptions.Forbidden:
        message = "the vault does not allow this token to do that: an administrator's is needed"
    except hvac.exceptions.VaultError as error:
        message = f"the vault refused ({type(error).__name__})"
    _errors.print(f"[red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)
