"""The environment of a gateway process, read once.

Every variable has the prefix VIVESPHERE_. Secrets come as file paths only. Nothing here changes at run time.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.edge.cors import parse_origins
from gateway.proxies import Network, parse_networks
from gateway.tls import TlsFiles

KiB = 1024
MiB = 1024 * KiB
ENDLESS_SECONDS = 100 * 365 * 86_400
"""From here on a deadline is none: gRPC counts time in nanoseconds of 64 bits, and takes what is beyond 292 years for over."""


class Limits(BaseSettings):
    """Bounds at the edge; what is over is refused before it costs anything."""

    model_config = SettingsConfigDict(env_prefix="VIVESPHERE_GATEWAY_", frozen=True, extra="ignore")

    max_body_bytes: int = Field(default=4 * MiB, gt=0)
    """Largest request body and gRPC request; answers may have four times as much. gRPC's own default is 4 MiB."""
    max_path_bytes: int = Field(default=8 * KiB, gt=0)
    """Longest path with query string."""
    max_header_bytes: int = Field(default=64 * KiB, ge=8 * KiB)
    """All header lines of a request together; the HTTP server answers 431 beyond it. Granian's default is 408 KiB."""
    header_timeout_seconds: float = Field(default=10.0, gt=0)
    """Time for a client to send its headers. Granian's default is 30."""
    body_timeout_seconds: float = Field(default=30.0, gt=0)
    """Longest pause between two pieces of a request body."""
    write_timeout_seconds: float = Field(default=30.0, ge=0.1)
    """How long an HTTP client may take no bytes that wait for it: one piece of an answer, or what the kernel still holds; then it is cut."""
    idle_timeout_seconds: float = Field(default=60.0, gt=0)
    """How long an HTTP connection may stand without a request. HTTP/1.1 ones end after the header timeout already."""
    max_connections: int = Field(default=10_000, gt=0)
    """HTTP connections at once, as far as the limit on open files allows. More wait to be accepted; idle ones make room for them."""
    default_deadline_seconds: float = Field(default=30.0, gt=0)
    """Deadline of a unary call whose client names none."""
    max_deadline_seconds: float = Field(default=300.0, gt=0)
    """Cap on the deadline a client may ask for."""
    heartbeat_seconds: float = Field(default=15.0, gt=0)
    """How long a stream of answers may be silent before a sign of life is sent; proxies close what is silent for about a minute."""
    event_headers_seconds: float = Field(default=1.0, gt=0)
    """How long an EventSource is left without headers. Until they come it cannot tell a stream that is idle from one that hangs; a stream that
    fails before has its HTTP status."""
    drain_seconds: float = Field(default=5.0, ge=0)
    """How long calls in flight may go on after SIGTERM."""
    grpc_core: bool = False
    """True sends all calls through gRPC's core, as streams of requests always are, instead of the gateway's own HTTP/2: for comparison, and as a way back."""
    grpc_max_connection_age_seconds: float = Field(default=1800.0, ge=0)
    """After this a gRPC client is asked to connect anew, so that balancers spread clients over replicas; its calls go on. 0: never."""
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()
    """`10.0.0.0/8,::1`: proxies in front whose X-Forwarded-For, -Proto and -Host are believed. Empty: the client is whoever holds
    the connection."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """`https://console.example`: other origins whose pages may call, with tokens and without cookies; `*` for all. Empty: none."""
    hsts: str = Field(default="max-age=31536000", pattern=r"^(max-age=[0-9]+(; ?[A-Za-z]+)*)?$")
    """Strict-Transport-Security of answers over TLS. The year is what OWASP asks for; subdomains are the operator's to say. Empty: none."""
    requests_per_second: float = Field(default=500.0, ge=0)
    """How often one client may call, in the long run. A script that waits for its answers stays far below; 0 for no bound."""
    requests_burst: int = Field(default=5000, ge=1)
    """How often one client may call at once."""
    max_in_flight: int = Field(default=2000, ge=1)
    """Requests under way of all clients together, streams apart."""
    max_in_flight_per_client: int = Field(default=256, ge=1)
    """Requests under way of one client, streams apart; more than one connection of HTTP/2 has at once (200)."""
    max_streams: int = Field(default=2000, ge=1)
    """Open streams of all clients together."""
    max_streams_per_client: int = Field(default=128, ge=1)
    """Open streams of one client; a console needs one or two a tab."""

    def timeout(self, asked: float | None, *, streaming: bool) -> float | None:
        """Seconds for a call whose client asks for so many, or for none; a stream ends only when its client says so."""
        if asked is None:
            return None if streaming else self.default_deadline_seconds
        if streaming:
            return asked if asked < ENDLESS_SECONDS else None
        return min(asked, self.max_deadline_seconds)

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _parse_proxies(cls, value: object) -> object:
        return parse_networks(value) if isinstance(value, str) else value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _parse_origins(cls, value: object) -> object:
        return parse_origins(value) if isinstance(value, str) else value


class Transcoding(BaseSettings):
    """Choices of the REST side that a contract cannot make."""

    model_config = SettingsConfigDict(env_prefix="VIVESPHERE_GATEWAY_", frozen=True, extra="ignore")

    ignored_query_parameters: Annotated[frozenset[str], NoDecode] = frozenset()
    """`key,$alt`: query parameters that may be in any request and mean nothing to it; every other unknown one is refused."""
    path_decoding: Literal["unreserved", "except_slash", "all"] = "unreserved"
    """What is decoded in path variables of several segments. `unreserved` keeps the reserved characters of RFC 6570 encoded, as
    google/api/http.proto says."""
    json_proto_names: bool = False
    """Answers name fields as the contract writes them instead of in lowerCamelCase. Requests may use both either way."""
    json_defaults: bool = False
    """Answers show fields without presence also when they hold their default value."""
    json_codec: Literal["protobuf-py", "json_format"] = "protobuf-py"
    """Which library reads and prints JSON; `json_format` is Google's, about ten times slower."""

    @field_validator("ignored_query_parameters", mode="before")
    @classmethod
    def _parse_names(cls, value: object) -> object:
        return frozenset(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


class GatewaySettings(BaseSettings):
    """What the mesh's gateway needs to start."""

    model_config = SettingsConfigDict(env_prefix="VIVESPHERE_", frozen=True, extra="ignore")

    http_host: str = "127.0.0.1"
    """Address of the HTTP door."""
    http_port: int = Field(default=8080, ge=0, le=65535)
    """Port of the HTTP door."""
    grpc_host: str = "127.0.0.1"
    """Address of the gRPC door."""
    grpc_port: int = Field(default=9090, ge=0, le=65535)
    """Port of the gRPC door."""
    http_tls_cert_file: Path | None = None
    """Certificate chain of the HTTP door (PEM). With it the door speaks TLS, HTTP/2 among it; unset: plaintext, for loopback or behind a proxy."""
    http_tls_key_file: Path | None = None
    """Its private key (PEM, not encrypted)."""
    grpc_tls_cert_file: Path | None = None
    """Certificate chain of the gRPC door (PEM). Unset: plaintext."""
    grpc_tls_key_file: Path | None = None
    """Its private key (PEM, not encrypted)."""
    descriptors: Path = Path("generated/vivesphere.binpb")
    """The FileDescriptorSet of all contracts, relative to the working directory."""
    targets: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    """`name=host:port,…`; a service that is not listed is looked for at dns:///<name-with-dashes>:9000."""
    tls_cert_file: Path
    """Certificate chain of the gateway in the mesh (PEM)."""
    tls_key_file: Path
    """Its private key (PEM)."""
    tls_ca_file: Path
    """Certificates that may sign services (PEM)."""
    nats_url: str | None = None
    """NATS, over which the gateway ships its log records; the certificate is the login. Unset: they go to standard output only."""
    data_dir: Path = Path(".vivesphere")
    """Where log records wait while NATS is away."""

    @property
    def http_tls(self) -> TlsFiles | None:
        """TLS of the HTTP door; None for plaintext."""
        return _tls("http", self.http_tls_cert_file, self.http_tls_key_file)

    @property
    def grpc_tls(self) -> TlsFiles | None:
        """TLS of the gRPC door; None for plaintext."""
        return _tls("grpc", self.grpc_tls_cert_file, self.grpc_tls_key_file)

    @model_validator(mode="after")
    def _check_tls(self) -> "GatewaySettings":
        _ = self.http_tls, self.grpc_tls
        return self

    @field_validator("targets", mode="before")
    @classmethod
    def _parse_targets(cls, value: object) -> object:
        return parse_targets(value) if isinstance(value, str) else value


def _tls(door: str, cert: Path | None, key: Path | None) -> TlsFiles | None:
    if cert is not None and key is not None:
        return TlsFiles(cert, key)
    if cert is None and key is None:
        return None
    raise ValueError(f"VIVESPHERE_{door.upper()}_TLS_CERT_FILE and _KEY_FILE go together")


def parse_targets(text: str) -> dict[str, str]:
    """`a=host:1,b=host:2` → {"a": "host:1", "b": "host:2"}; raises ValueError naming the piece that is wrong."""
    targets = {}
    for piece in filter(None, (part.strip() for part in text.split(","))):
        name, equals, address = piece.partition("=")
        if not (name and equals and address):
            raise ValueError(f"expected name=host:port, not {piece!r}")
        targets[name] = address
    return targets


def read_settings() -> GatewaySettings:
    """Read the environment; raises pydantic.ValidationError naming each variable that is missing or wrong."""
    return GatewaySettings()  # type: ignore[call-arg]  # the values come from the environment
