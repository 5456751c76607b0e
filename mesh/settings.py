"""Bootstrap settings: what a process must know before it can ask anybody.

Read once from the environment (prefix `VIVESPHERE_`); everything that may change while running comes from configuration instead
(`mesh.configuration`). Secrets arrive as paths of files, never as values, so that neither `ps` nor an environment dump shows one.
"""

from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from mesh.vault_names import VaultNames

DEFAULT_MESH_PORT = 9000


def dns_name(service: str) -> str:
    """The service's DNS label: what its certificate carries and what a cluster resolves. `bot_manager` → `bot-manager`."""
    return service.replace("_", "-")


def _parse_targets(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [item.strip() for item in value.split(",") if item.strip()]
    targets: dict[str, str] = {}
    for pair in pairs:
        name, separator, address = pair.partition("=")
        if not separator or not name or not address:
            raise ValueError(f"expected service=host:port, got {pair!r}")
        targets[name] = address
    return targets


Targets = Annotated[dict[str, str], NoDecode, BeforeValidator(_parse_targets)]


class TlsFiles(Protocol):
    """The three PEM files that say who a process is on the mesh."""

    @property
    def cert_file(self) -> Path: ...
    @property
    def key_file(self) -> Path: ...
    @property
    def ca_file(self) -> Path: ...


class TlsSettings(BaseSettings):
    """Who this process is on the mesh, and whom it trusts."""

    model_config = SettingsConfigDict(env_prefix="VIVESPHERE_TLS_", frozen=True)

    cert_file: Path
    """PEM certificate with `spiffe://vivesphere/<service>` as its URI SAN."""
    key_file: Path
    """PEM private key of the certificate; readable by this process alone."""
    ca_file: Path
    """PEM bundle of the mesh's certificate authorities."""


class ProcessSettings(BaseSettings):
    """Settings that every service has. A service adds its own in `services/<name>/settings.py`. An empty variable counts as not set."""

    model_config = SettingsConfigDict(env_prefix="VIVESPHERE_", env_ignore_empty=True, frozen=True)

    listen: str = f"127.0.0.1:{DEFAULT_MESH_PORT}"
    """host:port of the mesh port. It accepts mutual TLS and nothing else."""
    targets: Targets = Field(default_factory=dict)
    """Where services listen, `name=host:port,…`. A name that is not listed is looked up in DNS under its own name, port 9000."""
    data_dir: Path = Path(".vivesphere")
    """Directory for what must survive a restart of this process alone, such as the spool of log records."""
    configuration_max_staleness_hours: float = Field(default=72, ge=0)
    """How old the last known copy of configuration on the disk may be to start with while configuration is away; it says who may do
    what. 72 hours outlast a weekend; 0: never start from the disk."""
    nats_url: str = "tls://nats:4222"
    """NATS; the mesh certificate is the login."""
    database_url: str | None = None
    """SQLAlchemy URL without a password, for example `postgresql+psycopg://logging@127.0.0.1:5432/vivesphere`."""
    database_password_file: Path | None = None
    """File with the database role's password."""
    vault_addr: str = "https://vault:8200"
    """Vault or OpenBao; several addresses separated by commas for a cluster."""
    vault_ca_file: Path | None = None
    """PEM bundle of who may have signed the vault's certificate; unset: the mesh's certificate authorities."""
    vault_kv_mount: str = VaultNames.kv_mount
    """Mount of the KV version 2 engine; one segment of a-z, 0-9, _ and -, as the two below."""
    vault_kv_prefix: str = VaultNames.kv_prefix
    """First segment of the path of bots' secrets in it."""
    vault_transit_mount: str = VaultNames.transit_mount
    """Mount of the Transit engine."""
    vault_auth_method: Literal["approle", "kubernetes"] = "approle"
    """How this process signs in to the vault."""
    vault_auth_mount: str | None = None
    """Mount of the auth method; unset: the method's own name."""
    vault_role_id_file: Path | None = None
    """File with the AppRole's role id."""
    vault_secret_id_file: Path | None = None
    """File with the AppRole's secret id, read at every login."""
    vault_wrapped_secret_id_file: Path | None = None
    """File with a wrapping token that holds the secret id, instead of the file above; unwrapped once, again when the file changes."""
    vault_kubernetes_role: str | None = None
    """The role of the Kubernetes auth method."""
    vault_kubernetes_token_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    """File with the service account's token, read at every login."""
    log_level: str = "INFO"
    """Least severity that is kept: TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL."""
    metrics_listen: str | None = None
    """host:port where Prometheus may scrape; unset: metrics are only read through the gateway's own page."""
    max_message_bytes: int = 4 * 1024 * 1024
    """Largest gRPC message accepted or sent, in bytes; gRPC's own default."""
    drain_seconds: float = Field(default=5, ge=0)
    """How long a process that is told to stop goes on with calls that are in flight."""
    max_calls: int = 1000
    """Unary calls in flight before more are refused with OVERLOADED."""
    max_streams: int = 2000
    """Streams open before more are refused with OVERLOADED."""

    @property
    def tls(self) -> TlsSettings:
        """The TLS part, read from the same environment."""
        return TlsSettings()  # type: ignore[call-arg]  # pydantic-settings fills the fields from the environment

    def target(self, service: str) -> str:
        """gRPC target of a service: the listed address, or its DNS name so that `round_robin` sees every replica."""
        return self.targets.get(service, f"dns:///{dns_name(service)}:{DEFAULT_MESH_PORT}")
