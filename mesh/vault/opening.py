"""A client as the settings of a process say.

What is wrong with them is a ValueError that names the variable, before anything is sent: a mount of another name would look like a vault
that is away, for ever.
"""

from mesh.clock import Clock
from mesh.errors import InvalidArgument
from mesh.settings import ProcessSettings
from mesh.vault.client import VaultClient
from mesh.vault.credentials import AppRole, Credentials, Kubernetes, WrappedAppRole
from mesh.vault.paths import segment

NAMES = ("vault_kv_mount", "vault_kv_prefix", "vault_transit_mount", "vault_auth_mount")


def open_vault(settings: ProcessSettings, clock: Clock) -> VaultClient:
    """Raises ValueError for settings that are missing, contradict each other or are no safe names."""
    for name in NAMES:
        _check_name(name, getattr(settings, name))
    return VaultClient(
        settings.vault_addr,
        settings.vault_ca_file or settings.tls.ca_file,
        _credentials(settings),
        clock=clock,
        kv_mount=settings.vault_kv_mount,
        transit_mount=settings.vault_transit_mount,
    )


def _credentials(settings: ProcessSettings) -> Credentials:
    mount = settings.vault_auth_mount or settings.vault_auth_method
    if settings.vault_auth_method == "kubernetes":
        if settings.vault_kubernetes_role is None:
            raise ValueError(f"{_variable('vault_kubernetes_role')} is not set")
        return Kubernetes(settings.vault_kubernetes_role, settings.vault_kubernetes_token_file, mount)
    if settings.vault_role_id_file is None:
        raise ValueError(f"{_variable('vault_role_id_file')} is not set")
    plain, wrapped = settings.vault_secret_id_file, settings.vault_wrapped_secret_id_file
    if plain is not None and wrapped is None:
        return AppRole(settings.vault_role_id_file, plain, mount)
    if wrapped is not None and plain is None:
        return WrappedAppRole(settings.vault_role_id_file, wrapped, mount)
    names = f"{_variable('vault_secret_id_file')} and {_variable('vault_wrapped_secret_id_file')}"
    raise ValueError(f"one of {names} must be set, and not both")


def _check_name(name: str, value: str | None) -> None:
    try:
        if value is not None:
            segment(value, _variable(name))
    except InvalidArgument as error:
        message = error.message
    else:
        return
    raise ValueError(message)


def _variable(name: str) -> str:
    return f"VIVESPHERE_{name.upper()}"
