"""`vivesphere users …`: what can be done about accounts from the machine itself, when nobody can sign in any more.

Runs a command of authentication's own as a child with authentication's environment, so that this program sees neither the database nor the
password: what the child prints goes to the terminal and nowhere else.
"""

import subprocess

from cli.environment import inherited, python_module, service_environment
from cli.errors import CliError
from cli.layout import DataDir
from cli.registry import PROJECT_ROOT, load_registry
from cli.state import read_state, running_pid

SERVICE = "authentication"


def reset_password(data: DataDir, username: str, *, disable_totp: bool) -> int:
    """The exit code of the command that did it. Raises CliError if nothing runs on the data directory."""
    ports, registry = read_state(data).ports, load_registry()
    if running_pid(data) is None or not ports:
        raise CliError(f"nothing runs on {data.root}: start it with `vivesphere up` first")
    service = next(service for service in registry if service.name == SERVICE)
    command = [*python_module(f"services.{SERVICE}.recover"), *(["--disable-totp"] if disable_totp else [])]
    done = subprocess.run(  # noqa: S603 - our own module, no shell
        [*command, "--", username],
        env=inherited() | service_environment(service, data, ports, registry),
        cwd=PROJECT_ROOT,
        check=False,
    )
    return done.returncode
