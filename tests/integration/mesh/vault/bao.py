"""A real OpenBao of a test's own: one node, raft storage in a temporary directory, TLS, sealed by one Shamir share.

Set up as deployments are: KV `vivesphere-kv` with compare-and-set required, Transit `vivesphere-transit` with the derived key
`bot-secrets`, AppRole with one role whose policy allows exactly what the secret store needs.
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

ROLE = "vivesphere-secure-bot-data"
POLICY = """
path "vivesphere-kv/data/bots/*" { capabilities = ["create", "update", "read"] }
path "vivesphere-kv/metadata/bots/*" { capabilities = ["create", "update", "read", "list"] }
path "vivesphere-kv/delete/bots/*" { capabilities = ["update"] }
path "vivesphere-kv/undelete/bots/*" { capabilities = ["update"] }
path "vivesphere-kv/destroy/bots/*" { capabilities = ["update"] }
path "vivesphere-transit/encrypt/bot-secrets" { capabilities = ["update"] }
path "vivesphere-transit/decrypt/bot-secrets" { capabilities = ["update"] }
path "vivesphere-transit/decrypt/absent" { capabilities = ["update"] }
path "vivesphere-transit/keys/+" { capabilities = ["read"] }
path "vivesphere-transit/+/rotating" { capabilities = ["update"] }
path "vivesphere-transit/keys/rotating/rotate" { capabilities = ["update"] }
path "vivesphere-transit/keys/rotating/config" {
  capabilities = ["update"]
  allowed_parameters = { "min_decryption_version" = [] }
}
"""
CONFIG = """
storage "raft" {{ path = "{data}"  node_id = "test"  performance_multiplier = 1 }}
listener "tcp" {{ address = "127.0.0.1:{port}"  tls_cert_file = "{cert}"  tls_key_file = "{key}" }}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
"""
START_SECONDS = 30


class Bao:
    """The server process and its administrator."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self.address = f"https://127.0.0.1:{self._port}"
        self.ca_file = directory / "ca.pem"
        self.role_id_file = directory / "role-id"
        self.secret_id_file = directory / "secret-id"
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(self.ca_file)
        self._unseal_key = ""
        self._configure()

    def create(self) -> None:
        """Starts, initialises and sets up mounts, policy and role."""
        self.start(unseal=False)
        made = self.admin("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._unseal_key = made["keys"][0]
        self._session.headers["X-Vault-Token"] = made["root_token"]
        self.unseal()
        self.admin("POST", "sys/mounts/vivesphere-kv", {"type": "kv", "options": {"version": "2"}})
        self._repeat("POST", "vivesphere-kv/config", {"cas_required": True, "max_versions": 20})
        self.admin("POST", "sys/mounts/vivesphere-transit", {"type": "transit"})
        self.admin("POST", "vivesphere-transit/keys/bot-secrets", {"derived": True})
        self.admin("POST", "sys/auth/approle", {"type": "approle"})
        self.admin("PUT", f"sys/policies/acl/{ROLE}", {"policy": POLICY})
        self.role("600s")
        role_id = self.admin("GET", f"auth/approle/role/{ROLE}/role-id")["data"]["role_id"]
        write_private(self.role_id_file, role_id)
        self.new_secret_id()

    def role(self, ttl: str, **more: object) -> None:
        """Sets the life of tokens."""
        self.admin("POST", f"auth/approle/role/{ROLE}", {"token_policies": ROLE, "token_ttl": ttl, **more})

    def new_secret_id(self) -> None:
        """Puts a fresh secret id into its file."""
        made = self.admin("POST", f"auth/approle/role/{ROLE}/secret-id")
        write_private(self.secret_id_file, made["data"]["secret_id"])

    def tokens(self) -> set[str]:
        """Accessors of the living tokens of the role."""
        accessors = self.admin("LIST", "auth/token/accessors")["data"]["keys"]
        return {accessor for accessor in accessors if self._is_ours(accessor)}

    def revoke_tokens(self) -> None:
        """Takes every token of the role away."""
        for accessor in self.tokens():
            self.admin("POST", "auth/token/revoke-accessor", {"accessor": accessor})

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

    def admin(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """A request as root; fails the test when it fails."""
        response = self._session.request(method, f"{self.address}/v1/{path}", json=body, timeout=10)
        assert response.ok, (method, path, response.status_code, response.text)
        return response.json() if response.content else {}

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
        return response.ok and ROLE in response.json()["data"]["policies"]

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
