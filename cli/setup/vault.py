"""Puts into a Vault or OpenBao what the mesh needs: mounts, keys, and one policy and AppRole a service.

Each service ends up with two files, `vault_role_id` and `vault_secret_id`, and a policy made from `deploy/vault/service.hcl`
plus `deploy/vault/<service>.hcl` where there is one. Everything is read first and written only where it differs. hvac is
synchronous: callers run `prepare_vault` in a thread.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions
import requests

from cli.layout import DataDir, write_private
from cli.registry import PROJECT_ROOT, Service

KV_MOUNT = "vivesphere-kv"
TRANSIT_MOUNT = "vivesphere-transit"
APPROLE_MOUNT = "approle"
DERIVED_KEYS = ("bot-secrets", "service-values")  # every use brings the context that its own key is made from
POLICY_FOLDER = PROJECT_ROOT / "deploy" / "vault"
TIMEOUT_SECONDS = 10
_MOUNT_SECONDS = 10.0

_ROLE = {
    "token_ttl": 3600,
    "token_max_ttl": 86_400,  # then the service signs in again
    "secret_id_ttl": 0,
    "secret_id_num_uses": 0,
    "bind_secret_id": True,
}


def connect(address: str, authority: Path, token: str) -> hvac.Client:
    """A client that trusts only `authority`, follows no redirect (it would carry the token along) and reads no proxy settings."""
    session = requests.Session()
    session.trust_env = False
    session.verify = str(authority)
    return hvac.Client(
        url=address,
        token=token,
        timeout=TIMEOUT_SECONDS,
        allow_redirects=False,
        session=session,
        verify=str(authority),
    )


def role_name(service: Service) -> str:
    """Name of the service's AppRole and policy."""
    return f"vivesphere-{service.dashed}"


def policy_text(service: Service) -> str:
    """The policy of a service: what all may do, then what only it may do."""
    texts = [
        (POLICY_FOLDER / "service.hcl").read_text(encoding="utf-8").replace("{{service}}", service.dashed)
    ]
    own = POLICY_FOLDER / f"{service.name}.hcl"
    if own.exists():
        texts.append(own.read_text(encoding="utf-8"))
    return "\n".join(texts)


def prepare_vault(client: hvac.Client, data: DataDir, services: Sequence[Service]) -> None:
    """Brings mounts, keys, policies and AppRoles to what `services` need and writes their login files.

    Raises hvac.exceptions.VaultError or requests.RequestException when the server refuses or does not answer.
    """
    users = [service for service in services if service.vault]
    _ensure_mounts(client)
    _ensure_keys(client, users)
    for service in users:
        _ensure_policy(client, service)
        _ensure_role(client, service)
        _ensure_login_files(client, data, service)


def _ensure_mounts(client: hvac.Client) -> None:
    mounts = client.sys.list_mounted_secrets_engines()["data"]
    if f"{KV_MOUNT}/" not in mounts:
        client.sys.enable_secrets_engine("kv", path=KV_MOUNT, options={"version": "2"})
    if f"{TRANSIT_MOUNT}/" not in mounts:
        client.sys.enable_secrets_engine("transit", path=TRANSIT_MOUNT)
    if f"{APPROLE_MOUNT}/" not in client.sys.list_auth_methods()["data"]:
        client.sys.enable_auth_method("approle", path=APPROLE_MOUNT)
    _require_cas(client)


def _require_cas(client: hvac.Client) -> None:
    """No write without a check-and-set version. A new KV mount refuses requests for a moment while it prepares itself."""
    deadline = time.monotonic() + _MOUNT_SECONDS
    while True:
        try:
            if not client.secrets.kv.v2.read_configuration(mount_point=KV_MOUNT)["data"]["cas_required"]:
                client.secrets.kv.v2.configure(cas_required=True, mount_point=KV_MOUNT)
            return
        except hvac.exceptions.InvalidRequest:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _ensure_keys(client: hvac.Client, users: Sequence[Service]) -> None:
    try:
        existing = set(client.secrets.transit.list_keys(mount_point=TRANSIT_MOUNT)["data"]["keys"])
    except hvac.exceptions.InvalidPath:  # the server's way to say that the list is empty
        existing = set()
    for name in sorted({service.dashed for service in users} - existing):
        client.secrets.transit.create_key(name, key_type="aes256-gcm96", mount_point=TRANSIT_MOUNT)
    for name in sorted(set(DERIVED_KEYS) - existing):
        client.secrets.transit.create_key(
            name, key_type="aes256-gcm96", derived=True, mount_point=TRANSIT_MOUNT
        )


def _ensure_policy(client: hvac.Client, service: Service) -> None:
    name, text = role_name(service), policy_text(service)
    try:
        current = client.sys.read_policy(name)["data"]["rules"]
    except hvac.exceptions.InvalidPath:
        current = None
    if current != text:
        client.sys.create_or_update_policy(name, text)


def _ensure_role(client: hvac.Client, service: Service) -> None:
    name = role_name(service)
    wanted: dict[str, Any] = _ROLE | {"token_policies": [name]}
    try:
        current = client.auth.approle.read_role(name, mount_point=APPROLE_MOUNT)["data"]
    except hvac.exceptions.InvalidPath:
        current = {}
    if any(current.get(key) != value for key, value in wanted.items()):
        client.auth.approle.create_or_update_approle(name, mount_point=APPROLE_MOUNT, **wanted)


def _ensure_login_files(client: hvac.Client, data: DataDir, service: Service) -> None:
    name = role_name(service)
    role_file = data.secret(service.name, "vault_role_id")
    role_id = client.auth.approle.read_role_id(name, mount_point=APPROLE_MOUNT)["data"]["role_id"]
    if _content(role_file) != role_id:
        write_private(role_file, role_id)
    secret_file = data.secret(service.name, "vault_secret_id")
    if not _is_valid_secret_id(client, name, _content(secret_file)):
        made = client.auth.approle.generate_secret_id(name, mount_point=APPROLE_MOUNT)
        write_private(secret_file, made["data"]["secret_id"])


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def _is_valid_secret_id(client: hvac.Client, role: str, secret_id: str | None) -> bool:
    if not secret_id:
        return False
    try:
        found = client.auth.approle.read_secret_id(role, secret_id, mount_point=APPROLE_MOUNT)
    except (hvac.exceptions.InvalidPath, hvac.exceptions.InternalServerError):
        return False
    return isinstance(found, dict) and bool(found.get("data"))
