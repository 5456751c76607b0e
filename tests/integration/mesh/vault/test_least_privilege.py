"""What each service's token opens, under the policies that set-up really writes; everything else is closed.

All under names of mounts, prefix and roles that are not the defaults.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cli.layout import DataDir
from cli.registry import Service, load_registry
from cli.setup.vault import connect, prepare_vault
from cli.setup.vault_policies import role_name
from mesh.vault_names import VaultNames
from tests.integration.mesh.vault.bao import Vault
from tests.integration.mesh.vault.existing import names_of_this_run

SERVICES = tuple(service for service in load_registry() if service.vault)
OTHERS = tuple(service for service in SERVICES if service.name != "secure_bot_data")
SECRET = "0193c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b/x_oauth1"
OPEN = {200, 204}
CONTEXT = "Ym90"
PLAIN = {"plaintext": "aGk=", "context": CONTEXT}


@dataclass
class Installation:
    """A vault that was set up for the whole mesh, and a token of every service."""

    vault: Vault
    names: VaultNames
    tokens: dict[str, str]

    def status(self, service: str, method: str, path: str, body: dict[str, object] | None = None) -> int:
        """How a request of a service ends; `KV`, `PREFIX`, `TRANSIT` in the path stand for the names."""
        return self.vault.status(self.tokens[service], method, self.path(path), body)

    def path(self, path: str) -> str:
        """With the names filled in."""
        for word, name in (
            ("KV", self.names.kv_mount),
            ("PREFIX", self.names.kv_prefix),
            ("TRANSIT", self.names.transit_mount),
            ("APPROLE", self.names.approle_mount),
        ):
            path = path.replace(word, name)
        return path


@pytest.fixture(scope="module")
def installed(vault: Vault, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Set up by the product's own code, beside a secret of somebody else's on the same mounts."""
    names = replace(names_of_this_run(), kv_prefix="accounts")
    data = DataDir(tmp_path_factory.mktemp("installation"))
    try:
        prepare_vault(connect(vault.address, vault.ca_file, vault.token), data, load_registry(), names)
        installed = Installation(vault, names, {s.name: _log_in(vault, names, data, s) for s in SERVICES})
        for path in ("KV/data/other/x", f"KV/data/bots/{SECRET}", f"KV/data/PREFIX/{SECRET}"):
            vault.admin("POST", installed.path(path), {"data": {"k": "v"}, "options": {"cas": 0}})
        yield installed
    finally:
        vault.admin("DELETE", f"sys/auth/{names.approle_mount}")
        for mount in (names.kv_mount, names.transit_mount):
            vault.admin("DELETE", f"sys/mounts/{mount}")
        for service in SERVICES:
            vault.admin("DELETE", f"sys/policies/acl/{role_name(service, names)}")


def _log_in(vault: Vault, names: VaultNames, data: DataDir, service: Service) -> str:
    role_id, secret_id = (
        _read(data.secret(service.name, name)) for name in ("vault_role_id", "vault_secret_id")
    )
    body = {"role_id": role_id, "secret_id": secret_id}
    token: str = vault.admin("POST", f"auth/{names.approle_mount}/login", body)["auth"]["client_token"]
    return token


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"KV/data/PREFIX/{SECRET}", None),
        ("GET", f"KV/metadata/PREFIX/{SECRET}", None),
        ("LIST", "KV/metadata/PREFIX/", None),
        ("POST", f"KV/data/PREFIX/{SECRET}-new", {"data": {"k": "v"}, "options": {"cas": 0}}),
        ("POST", f"KV/delete/PREFIX/{SECRET}", {"versions": [9]}),
        ("POST", f"KV/undelete/PREFIX/{SECRET}", {"versions": [9]}),
        ("POST", f"KV/destroy/PREFIX/{SECRET}", {"versions": [9]}),
        ("DELETE", f"KV/metadata/PREFIX/{SECRET}-gone", None),
        ("POST", "TRANSIT/encrypt/bot-secrets", PLAIN),
        ("POST", "TRANSIT/encrypt/service-values", PLAIN),
        ("POST", "TRANSIT/encrypt/secure-bot-data", {"plaintext": "aGk="}),
        ("GET", "TRANSIT/keys/bot-secrets", None),
        ("POST", "TRANSIT/keys/bot-secrets/rotate", None),
        ("POST", "TRANSIT/keys/bot-secrets/config", {"min_decryption_version": 1}),
    ],
)
def test_secure_bot_data_may_do_what_it_has_to(
    installed: Installation, method: str, path: str, body: dict[str, object] | None
) -> None:
    """Otherwise the refusals below would prove nothing."""
    assert installed.status("secure_bot_data", method, path, body) in OPEN


@pytest.mark.parametrize(
    ("method", "path", "body", "allowed"),
    [
        ("POST", "TRANSIT/sign/audit-chain", {"input": "aGk="}, True),
        ("GET", "TRANSIT/keys/audit-chain", None, True),
        ("POST", "TRANSIT/keys/audit-chain/rotate", None, False),
        ("POST", "TRANSIT/keys/audit-chain/config", {"exportable": True}, False),
        ("DELETE", "TRANSIT/keys/audit-chain", None, False),
        ("GET", "TRANSIT/export/signing-key/audit-chain", None, False),
        ("GET", "TRANSIT/backup/audit-chain", None, False),
        ("POST", "TRANSIT/encrypt/bot-secrets", PLAIN, False),
    ],
)
def test_logging_may_sign_with_the_key_of_the_chain_and_no_more(
    installed: Installation, method: str, path: str, body: dict[str, object] | None, allowed: bool
) -> None:
    """Whoever could export or replace the key could rewrite the trail."""
    assert (installed.status("logging", method, path, body) in OPEN) is allowed


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "sys/mounts", None),
        ("POST", "sys/mounts/mine", {"type": "kv"}),
        ("GET", "sys/policies/acl/root", None),
        ("GET", "sys/auth", None),
        ("PUT", "sys/seal", None),
        ("GET", "sys/audit", None),
        ("GET", "sys/storage/raft/snapshot", None),
        ("LIST", "auth/token/accessors", None),
        ("POST", "auth/token/create", {"policies": ["root"]}),
        ("POST", "auth/token/create", None),
        ("LIST", "auth/APPROLE/role", None),
        ("POST", "auth/APPROLE/role/other/secret-id", None),
        ("GET", "KV/config", None),
        ("POST", "KV/config", {"cas_required": False}),
        ("GET", "KV/data/other/x", None),
        ("POST", "KV/data/other/y", {"data": {"k": "v"}, "options": {"cas": 0}}),
        ("GET", f"KV/data/bots/{SECRET}", None),
        ("LIST", "KV/metadata/", None),
        ("LIST", "KV/metadata/other/", None),
        ("GET", "KV/data/PREFIX-more/x", None),
        ("GET", "KV/data/PREFIX/../other/x", None),
        ("GET", "KV/data/PREFIX/%2e%2e/other/x", None),
        ("GET", "KV/data/PREFIX/..%2fother/x", None),
        ("GET", "KV/data/PREFIX/../../../sys/mounts", None),
        ("GET", "KV/data/PREFIX/%2e%2e/%2e%2e/%2e%2e/sys/mounts", None),
        ("GET", "KV/subkeys/PREFIX/x", None),
        ("POST", "TRANSIT/encrypt/authentication", {"plaintext": "aGk="}),
        ("POST", "TRANSIT/decrypt/authentication", {"ciphertext": "vault:v1:AAAA"}),
        ("POST", "TRANSIT/rewrap/bot-secrets", {"ciphertext": "vault:v1:AAAA", "context": CONTEXT}),
        ("POST", "TRANSIT/datakey/plaintext/bot-secrets", {"context": CONTEXT}),
        ("GET", "TRANSIT/export/encryption-key/bot-secrets", None),
        ("GET", "TRANSIT/backup/bot-secrets", None),
        ("DELETE", "TRANSIT/keys/bot-secrets", None),
        ("POST", "TRANSIT/keys/bot-secrets/trim", {"min_available_version": 1}),
        ("POST", "TRANSIT/keys/bot-secrets/config", {"exportable": True}),
        ("POST", "TRANSIT/keys/bot-secrets/config", {"deletion_allowed": True}),
        ("POST", "TRANSIT/keys/bot-secrets/config", {"allow_plaintext_backup": True}),
        ("POST", "TRANSIT/keys/bot-secrets/config", {"min_encryption_version": 1}),
        ("POST", "TRANSIT/keys/bot-secrets/config", {"min_decryption_version": 1, "exportable": True}),
        ("POST", "TRANSIT/keys/service-values/rotate", None),
        ("POST", "TRANSIT/keys/service-values/config", {"min_decryption_version": 1}),
        ("POST", "TRANSIT/keys/mine", None),
        ("LIST", "TRANSIT/keys", None),
    ],
)
def test_secure_bot_data_is_refused_everything_else(
    installed: Installation, method: str, path: str, body: dict[str, object] | None
) -> None:
    """Whoever takes this service over gets bots' secrets, which is bad enough, and not one thing more."""
    assert installed.status("secure_bot_data", method, path, body) not in OPEN


def test_what_is_refused_is_there(installed: Installation) -> None:
    """A path that does not exist is refused to everybody."""
    for path in ("KV/data/other/x", f"KV/data/bots/{SECRET}", "sys/mounts", "TRANSIT/keys/authentication"):
        assert installed.vault.status(installed.vault.token, "GET", installed.path(path)) == 200


@pytest.mark.parametrize("service", OTHERS, ids=lambda service: service.name)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"KV/data/PREFIX/{SECRET}", None),
        ("GET", f"KV/metadata/PREFIX/{SECRET}", None),
        ("LIST", "KV/metadata/PREFIX/", None),
        ("POST", f"KV/data/PREFIX/{SECRET}", {"data": {"k": "w"}, "options": {"cas": 1}}),
        ("POST", f"KV/destroy/PREFIX/{SECRET}", {"versions": [1]}),
        ("POST", "TRANSIT/encrypt/bot-secrets", PLAIN),
        ("POST", "TRANSIT/decrypt/bot-secrets", {"ciphertext": "vault:v1:AAAA", "context": CONTEXT}),
        ("POST", "TRANSIT/encrypt/service-values", PLAIN),
        ("GET", "TRANSIT/keys/bot-secrets", None),
        ("POST", "TRANSIT/keys/bot-secrets/rotate", None),
        ("POST", "TRANSIT/encrypt/secure-bot-data", {"plaintext": "aGk="}),
        ("GET", "sys/mounts", None),
    ],
)
def test_no_other_service_reaches_bots_secrets(
    installed: Installation, service: Service, method: str, path: str, body: dict[str, object] | None
) -> None:
    """They ask secure_bot_data, which writes down who did; with a key of their own they work all the same."""
    assert installed.status(service.name, method, path, body) == 403
    own = f"TRANSIT/encrypt/{service.dashed}"
    assert installed.status(service.name, "POST", own, {"plaintext": "aGk="}) == 200
