"""Vaults for tests: a real OpenBao of a test's own, or one that is there already.

Both are set up as deployments are: KV with compare-and-set required, Transit with the derived key `bot-secrets`, AppRole with one role whose
policy allows exactly what the secret store needs. In a vault that is there already all of it has names of this run alone and is removed at
the end.

A server of a test's own: one node, raft storage in a temporary directory, TLS, sealed by one Shamir share.
"""

import ipaddress
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh.vault_names import VaultNames

POLICY = """
path "{kv}/data/bots/*" {{ capabilities = ["create", "update", "read"] }}
path "{kv}/metadata/bots/*" {{ capabilities = ["create", "update", "read", "list"] }}
path "{kv}/delete/bots/*" {{ capabilities = ["update"] }}
path "{kv}/undelete/bots/*" {{ capabilities = ["update"] }}
path "{kv}/destroy/bots/*" {{ capabilities = ["update"] }}
path "{transit}/encrypt/bot-secrets" {{ capabilities = ["update"] }}
path "{transit}/decrypt/bot-secrets" {{ capabilities = ["update"] }}
path "{transit}/decrypt/absent" {{ capabilities = ["update"] }}
path "{transit}/keys/+" {{ capabilities = ["read"] }}
path "{transit}/sign/+" {{ capabilities = ["update"] }}
path "{transit}/+/rotating" {{ capabilities = ["update"] }}
path "{transit}/keys/rotating/rotate" {{ capabilities = ["update"] }}
path "{transit}/keys/rotating/config" {{
  capabilities = ["update"]
  allowed_parameters = {{ "min_decryption_version" = [] }}
}}
"""
CONFIG = """
storage "raft" {{ path = "{data}"  node_id = "test"  performance_multiplier = 1 }}
listener "tcp" {{ address = "127.0.0.1:{port}"  tls_cert_file = "{cert}"  tls_key_file = "{key}" }}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
"""
START_SECONDS = 30


class Vault:
    """A vault, as its administrator sees it."""

    def __init__(self, address: str, ca_file: Path, directory: Path, names: VaultNames) -> None:
        self.address = address
        self.ca_file = ca_file
        self.names = names
        self.role_name = f"{names.role_prefix}-secure-bot-data"
        self.role_id_file = directory / "role-id"
        self.secret_id_file = directory / "secret-id"
        self.token = ""
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca_file)

    def sign_in(self, token: str) -> None:
        """The administrator's token, for all that follows."""
        self.token = token
        self._session.headers["X-Vault-Token"] = token

    def create(self) -> None:
        """Sets up mounts, policy and role."""
        names = self.names
        self.admin("POST", f"sys/mounts/{names.kv_mount}", {"type": "kv", "options": {"version": "2"}})
        self._repeat("POST", f"{names.kv_mount}/config", {"cas_required": True, "max_versions": 20})
        self.admin("POST", f"sys/mounts/{names.transit_mount}", {"type": "transit"})
        self.admin("POST", f"{names.transit_mount}/keys/bot-secrets", {"derived": True})
        self.admin("POST", f"sys/auth/{names.approle_mount}", {"type": "approle"})
        self.allow()
        self.token_life("600s")
        role_id = self.admin("GET", f"{self.role}/role-id")["data"]["role_id"]
        write_private(self.role_id_file, role_id)
        self.new_secret_id()

    def remove(self) -> None:
        """Takes away what `create` has made, with every token that was given out."""
        self.admin("DELETE", f"sys/auth/{self.names.approle_mount}")
        self.admin("DELETE", f"sys/mounts/{self.names.kv_mount}")
        self.admin("DELETE", f"sys/mounts/{self.names.transit_mount}")
        self.forbid()

    def allow(self) -> None:
        """Gives the role its policy."""
        text = POLICY.format(kv=self.names.kv_mount, transit=self.names.transit_mount)
        self.admin("PUT", f"sys/policies/acl/{self.role_name}", {"policy": text})

    def forbid(self) -> None:
        """Takes the role's policy away; its tokens live on."""
        self.admin("DELETE", f"sys/policies/acl/{self.role_name}")

    @property
    def role(self) -> str:
        """Path of the role."""
        return f"auth/{self.names.approle_mount}/role/{self.role_name}"

    def token_life(self, ttl: str, **more: object) -> None:
        """Makes the role, or sets the life of its tokens."""
        self.admin("POST", self.role, {"token_policies": self.role_name, "token_ttl": ttl, **more})

    def new_secret_id(self) -> None:
        """Puts a fresh secret id into its file."""
        made = self.admin("POST", f"{self.role}/secret-id")
        write_private(self.secret_id_file, made["data"]["secret_id"])

    def wrapped(
        self, path: str | None = None, ttl: str = "60s", body: Mapping[str, object] | None = None
    ) -> str:
        """A wrapping token; by default with a secret id of the role in it."""
        made = self.admin("POST", path or f"{self.role}/secret-id", body, {"X-Vault-Wrap-TTL": ttl})
        token: str = made["wrap_info"]["token"]
        return token

    def tokens(self) -> set[str]:
        """Accessors of the living tokens of the role."""
        accessors = self.admin("LIST", "auth/token/accessors")["data"]["keys"]
        return {accessor for accessor in accessors if self._is_ours(accessor)}

    def revoke_tokens(self) -> None:
        """Takes every token of the role away."""
        for accessor in self.tokens():
            self.admin("POST", "auth/token/revoke-accessor", {"accessor": accessor})

    def admin(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """A request as root; fails the test when it fails."""
        url = f"{self.address}/v1/{path}"
        response = self._session.request(method, url, json=body, headers=headers, timeout=10)
        assert response.ok, (method, path, response.status_code, response.text)
        return response.json() if response.content else {}

    def status(self, token: str, method: str, path: str, body: Mapping[str, object] | None = None) -> int:
        """How a request under somebody's token ends. The path is sent as it is, dots included."""
        request = requests.Request(method, self.address, headers={"X-Vault-Token": token}, json=body)
        prepared = self._session.prepare_request(request)
        prepared.url = f"{self.address}/v1/{path}"
        return self._session.send(
            prepared, timeout=10, verify=str(self.ca_file), allow_redirects=False
        ).status_code

    def _repeat(self, method: str, path: str, body: Mapping[str, object]) -> None:
        """A new KV mount upgrades itself for a moment and refuses meanwhile."""
        for _ in range(50):
            if self._session.request(method, f"{self.address}/v1/{path}", json=body, timeout=10).ok:
                return
            time.sleep(0.1)
        raise AssertionError(f"{path} stays refused")

    def _is_ours(self, accessor: str) -> bool:
        response = self._session.post(
            f"{self.address}/v1/auth/token/lookup-accessor", json={"accessor": accessor}, timeout=10
        )
        return response.ok and self.role_name in response.json()["data"]["policies"]


class Bao(Vault):
    """A server process of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        super().__init__(f"https://127.0.0.1:{self._port}", directory / "ca.pem", directory, VaultNames())
        self._process: subprocess.Popen[bytes] | None = None
        self._unseal_key = ""
        self._configure()

    def create(self) -> None:
        """Starts and initialises the server first."""
        self.start(unseal=False)
        made = self.admin("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._unseal_key = made["keys"][0]
        self.sign_in(made["root_token"])
        self.unseal()
        super().create()

    @property
    def running(self) -> bool:
        """Whether the process was started and not stopped."""
        return self._process is not None

    def start(self, *, unseal: bool = True) -> None:
        """Starts the process on the same data and port."""
        binary = Path(sys.executable).parent / "bao"
        self._process = subprocess.Popen(  # noqa: S603  # the server from our own environment
            [str(binary), "server", f"-config={self._directory / 'config.hcl'}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait_for({200, 429, 472, 473, 501, 503})
        if unseal:
            self.unseal()

    def stop(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def seal(self) -> None:
        """Seals; every request answers 503 from now on."""
        self.admin("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseals and waits until the node is active."""
        self.admin("PUT", "sys/unseal", {"key": self._unseal_key})
        self._wait_for({200})

    def close(self) -> None:
        """Ends the process and removes its data."""
        self.stop()
        self._session.close()
        shutil.rmtree(self._directory)

    def _wait_for(self, statuses: set[int]) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                if self._session.get(f"{self.address}/v1/sys/health", timeout=2).status_code in statuses:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.05)
        raise AssertionError("OpenBao does not start")

    def _configure(self) -> None:
        data = self._directory / "data"
        data.mkdir(mode=0o700)
        certificate, key = self_signed()
        (self._directory / "key.pem").touch(mode=0o600)
        (self._directory / "key.pem").write_bytes(key)
        self.ca_file.write_bytes(certificate)
        text = CONFIG.format(
            data=data,
            port=self._port,
            cluster_port=free_port(),
            cert=self.ca_file,
            key=self._directory / "key.pem",
        )
        (self._directory / "config.hcl").write_text(text)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_private(path: Path, text: str) -> None:
    """A file only we can read."""
    path.touch(mode=0o600)
    path.write_text(text + "\n")


def self_signed() -> tuple[bytes, bytes]:
    """A certificate for 127.0.0.1 that is its own authority, and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "openbao")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private
