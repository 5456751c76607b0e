"""Puts into a Vault or OpenBao what the mesh needs: mounts, keys, and one policy and AppRole a service.

Each service ends up with a policy made from `deploy/vault` and with two files to sign in with (`vault_logins`). Everything is read first and
written only where it differs; with `dry_run` it is only read. hvac is synchronous: callers run `prepare_vault` in a thread.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions
import requests

from cli.errors import CliError
from cli.layout import DataDir
from cli.registry import Service
from cli.setup.steps import Step, Steps
from cli.setup.vault_logins import ensure_role_id, ensure_secret_id, ensure_wrapped_secret_id
from cli.setup.vault_policies import check_names, policy_text, role_name
from mesh.vault_names import VaultNames

DERIVED_KEYS = ("bot-secrets", "service-values")
"""Keys of secure_bot_data's that derive another one for each bot or caller."""
SIGNING_KEYS = ("audit-chain",)
"""Ed25519 keys: logging signs the audit chain's checkpoints."""
TIMEOUT_SECONDS = 10
DEFAULT_NAMES = VaultNames()
_MOUNT_SECONDS = 10.0

_ROLE = {
    "token_ttl": 3600,
    "token_max_ttl": 86_400,  # then the service signs in again
    "secret_id_ttl": 0,
    "secret_id_num_uses": 0,
    "bind_secret_id": True,
}


class VaultMismatch(CliError):
    """Something of that name is there and is something else; the message says what."""


def connect(address: str, authority: Path | None, token: str) -> hvac.Client:
    """A client that trusts only `authority` (None: the public ones), follows no redirect (it would carry the token along) and reads no
    proxy settings."""
    session = requests.Session()
    session.trust_env = False
    session.verify = str(authority) if authority else True
    return hvac.Client(
        url=address,
        token=token,
        timeout=TIMEOUT_SECONDS,
        allow_redirects=False,
        session=session,
        verify=session.verify,
    )


def prepare_vault(
    client: hvac.Client,
    data: DataDir,
    services: Sequence[Service],
    names: VaultNames = DEFAULT_NAMES,
    *,
    wrap_ttl: str | None = None,
    dry_run: bool = False,
) -> list[Step]:
    """Brings mounts, keys, policies and AppRoles to what `services` need and writes their login files; returns what it found and did.

    `wrap_ttl`, such as `10m`: secret ids come in wrapping tokens that live so long. Raises UnsafeName, VaultMismatch;
    hvac.exceptions.VaultError or requests.RequestException when the server refuses or does not answer.
    """
    check_names(names)
    steps = Steps(dry_run)
    users = [service for service in services if service.vault]
    _ensure_mounts(steps, client, names)
    _ensure_keys(steps, client, users, names)
    for service in users:
        _ensure_policy(steps, client, service, names)
        _ensure_role(steps, client, service, names)
        ensure_role_id(steps, client, data, service, names)
        if wrap_ttl is None:
            ensure_secret_id(steps, client, data, service, names)
        else:
            ensure_wrapped_secret_id(steps, client, data, service, names, wrap_ttl)
    return steps.taken


def _ensure_mounts(steps: Steps, client: hvac.Client, names: VaultNames) -> None:
    engines = client.sys.list_mounted_secrets_engines()["data"]
    methods = client.sys.list_auth_methods()["data"]
    kv, transit, approle = names.kv_mount, names.transit_mount, names.approle_mount
    steps.ensure(
        f"KV mount {kv}",
        _is_mounted(engines, kv, "kv", {"version": "2"}),
        lambda: client.sys.enable_secrets_engine("kv", path=kv, options={"version": "2"}),
    )
    steps.ensure(
        f"no write to {kv} without check-and-set",
        f"{kv}/" in engines and _requires_cas(client, kv),
        lambda: _require_cas(client, kv),
    )
    steps.ensure(
        f"Transit mount {transit}",
        _is_mounted(engines, transit, "transit"),
        lambda: client.sys.enable_secrets_engine("transit", path=transit),
    )
    steps.ensure(
        f"auth method {approle}",
        _is_mounted(methods, approle, "approle"),
        lambda: client.sys.enable_auth_method("approle", path=approle),
    )


def _is_mounted(mounts: dict[str, Any], path: str, kind: str, options: dict[str, str] | None = None) -> bool:
    mount = mounts.get(f"{path}/")
    if mount is None:
        return False
    if mount["type"] != kind or not (options or {}).items() <= (mount["options"] or {}).items():
        version = "".join(f" of {name} {value}" for name, value in (options or {}).items())
        raise VaultMismatch(f"the mount {path} exists and is not {kind}{version}: give another name")
    return True


def _requires_cas(client: hvac.Client, mount: str) -> bool:
    """A new KV mount refuses requests for a moment while it prepares itself."""
    deadline = time.monotonic() + _MOUNT_SECONDS
    while True:
        try:
            return bool(client.secrets.kv.v2.read_configuration(mount_point=mount)["data"]["cas_required"])
        except hvac.exceptions.InvalidRequest:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _require_cas(client: hvac.Client, mount: str) -> None:
    if not _requires_cas(client, mount):
        client.secrets.kv.v2.configure(cas_required=True, mount_point=mount)


def _ensure_keys(steps: Steps, client: hvac.Client, users: Sequence[Service], names: VaultNames) -> None:
    wanted = {service.dashed: ("aes256-gcm96", False) for service in users}
    wanted |= dict.fromkeys(DERIVED_KEYS, ("aes256-gcm96", True))
    wanted |= dict.fromkeys(SIGNING_KEYS, ("ed25519", False))
    transit, mount = client.secrets.transit, names.transit_mount
    for name, (kind, derived) in wanted.items():
        key = _found(lambda name=name: transit.read_key(name, mount_point=mount))  # type: ignore[misc]
        if key is not None and (key["type"], bool(key["derived"])) != (kind, derived):
            raise VaultMismatch(
                f"the key {name} of {mount} exists and is of another kind: give another mount"
            )

        def make(name: str = name, kind: str = kind, derived: bool = derived) -> None:
            transit.create_key(name, key_type=kind, derived=derived, mount_point=mount)

        steps.ensure(f"key {name}", key is not None, make)


def _ensure_policy(steps: Steps, client: hvac.Client, service: Service, names: VaultNames) -> None:
    name, text = role_name(service, names), policy_text(service, names)
    current = _found(lambda: client.sys.read_policy(name))
    right = current is not None and current["rules"] == text
    steps.ensure(f"policy {name}", right, lambda: client.sys.create_or_update_policy(name, text))


def _ensure_role(steps: Steps, client: hvac.Client, service: Service, names: VaultNames) -> None:
    name, mount = role_name(service, names), names.approle_mount
    wanted: dict[str, Any] = _ROLE | {"token_policies": [name]}
    current = _found(lambda: client.auth.approle.read_role(name, mount_point=mount)) or {}
    steps.ensure(
        f"AppRole {name}",
        all(current.get(key) == value for key, value in wanted.items()),
        lambda: client.auth.approle.create_or_update_approle(name, mount_point=mount, **wanted),
    )


def _found(read: Callable[[], Any]) -> Any:
    """The data that was read, None where there is none."""
    try:
        return read()["data"]
    except hvac.exceptions.InvalidPath:
        return None
