"""The files a service signs in to the vault with: its role id, and its secret id in clear or in a wrapping token.

A wrapping token opens once and soon expires, so it may travel over ways that others see: if it does not open, it was seen. Its file is made
anew when it can be opened no more, whether the service has done that or time.
"""

from pathlib import Path

import hvac
import hvac.exceptions

from cli.layout import DataDir, write_private
from cli.registry import Service
from cli.setup.steps import Steps
from cli.setup.vault_policies import role_name
from mesh.vault_names import VaultNames


def ensure_role_id(
    steps: Steps, client: hvac.Client, data: DataDir, service: Service, names: VaultNames
) -> None:
    """The file `vault_role_id`."""
    role, mount = role_name(service, names), names.approle_mount
    file = data.secret(service.name, "vault_role_id")
    try:
        role_id = client.auth.approle.read_role_id(role, mount_point=mount)["data"]["role_id"]
    except hvac.exceptions.InvalidPath:  # of a role that a dry run did not make
        role_id = ""
    steps.ensure(f"file {file}", _content(file) == role_id, lambda: write_private(file, role_id))


def ensure_secret_id(
    steps: Steps, client: hvac.Client, data: DataDir, service: Service, names: VaultNames
) -> None:
    """The file `vault_secret_id`."""
    role, mount = role_name(service, names), names.approle_mount
    file = data.secret(service.name, "vault_secret_id")

    def make() -> None:
        made = client.auth.approle.generate_secret_id(role, mount_point=mount)
        write_private(file, made["data"]["secret_id"])

    steps.ensure(f"file {file}", _is_valid(client, role, mount, _content(file)), make)


def ensure_wrapped_secret_id(
    steps: Steps, client: hvac.Client, data: DataDir, service: Service, names: VaultNames, wrap_ttl: str
) -> None:
    """The file `vault_wrapped_secret_id`."""
    role, mount = role_name(service, names), names.approle_mount
    file = data.secret(service.name, "vault_wrapped_secret_id")

    def make() -> None:
        made = client.auth.approle.generate_secret_id(role, mount_point=mount, wrap_ttl=wrap_ttl)
        write_private(file, made["wrap_info"]["token"])

    steps.ensure(f"file {file}", _opens(client, _content(file)), make)


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def _is_valid(client: hvac.Client, role: str, mount: str, secret_id: str | None) -> bool:
    if not secret_id:
        return False
    try:
        found = client.auth.approle.read_secret_id(role, secret_id, mount_point=mount)
    except (hvac.exceptions.InvalidPath, hvac.exceptions.InternalServerError):
        return False
    return isinstance(found, dict) and bool(found.get("data"))


def _opens(client: hvac.Client, wrapping_token: str | None) -> bool:
    """Looks at the token without opening it."""
    if not wrapping_token:
        return False
    try:
        client.adapter.post("/v1/sys/wrapping/lookup", json={"token": wrapping_token})
    except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
        return False
    return True
