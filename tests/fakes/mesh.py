"""A mesh server in this process: the real chain over real mutual TLS, with the few things around it that need no engine."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.layout import DataDir
from cli.pki import issue_certificates
from mesh.authorization import Policy
from mesh.clock import SystemClock
from mesh.context import Call
from mesh.contract import policies_of
from mesh.errors import Unavailable
from mesh.health import Health
from mesh.identity.keys import KeySource, thumbprint
from mesh.identity.strict import encode_base64url
from mesh.interceptors.access import Access, Authenticator
from mesh.interceptors.adapter import MeshInterceptor
from mesh.interceptors.chain import Chain, ServicerContext
from mesh.interceptors.stages import Deadline, Observe, Overload, Validation
from mesh.server import Registrar, build_server
from mesh.settings import ProcessSettings
from mesh.telemetry.metrics import RpcMetrics


class Issuer:
    """Signs access tokens as authentication does."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.key_id = thumbprint(self.key.public_key().public_bytes_raw())

    async def jwks(self) -> bytes:
        """The public part as authentication serves it."""
        raw = self.key.public_key().public_bytes_raw()
        key = {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": self.key_id,
            "x": encode_base64url(raw),
        }
        return json.dumps({"keys": [key]}).encode()

    def token(
        self,
        *roles: str,
        subject: str = "0190c6a1-0000-7000-8000-000000000001",
        life: float = 300,
        **claims: Any,
    ) -> str:
        """A token for `subject` with `roles`, ending `life` seconds from now; `claims` replace or add."""
        now = int(time.time())
        payload = {
            "iss": "vivesphere",
            "aud": "vivesphere",
            "sub": subject,
            "exp": int(time.time() + life),
            "nbf": min(now, int(now + life) - 1),
            "iat": min(now, int(now + life) - 1),
            "jti": "token-1",
            "sid": "session-1",
            "client_id": "vivesphere",
            "roles": list(roles),
        } | claims
        header = {"alg": "EdDSA", "kid": self.key_id, "typ": "at+jwt"}
        parts = (encode_base64url(json.dumps(part).encode()) for part in (header, payload))
        signed = ".".join(parts)
        return f"{signed}.{encode_base64url(self.key.sign(signed.encode()))}"


class StaticPolicy:
    """Roles that a test sets; None means configuration was never heard of."""

    def __init__(self, roles: Mapping[str, frozenset[str]] | None) -> None:
        self.roles = roles

    def policy(self) -> Policy:
        """See PolicySource."""
        if self.roles is None:
            raise Unavailable("POLICY_NOT_LOADED", "no roles yet")
        return Policy(1, self.roles)


@dataclass(slots=True)
class RecordingAudit:
    """Stands where the audit trail stands and keeps what it would have written."""

    name: str = "audit"
    records: list[tuple[str, str, str]] = field(default_factory=list)
    """Path, outcome, actor."""
    failing: bool = False

    async def enter(self, call: Call, request: Any, context: ServicerContext) -> None:
        """See Stage."""

    async def leave(self, call: Call) -> None:
        """See Stage."""
        if call.policy is not None and call.policy.audit:
            if self.failing:
                raise Unavailable("DATABASE_UNAVAILABLE", "the trail cannot be written")
            self.records.append((call.path, call.outcome, call.actor))


@dataclass(slots=True)
class LocalServer:
    """A server that runs in this process."""

    port: int
    data: DataDir
    issuer: Issuer
    policy: StaticPolicy
    audit: RecordingAudit

    @asynccontextmanager
    async def channel(self, identity: str, server: str) -> AsyncIterator[grpc.aio.Channel]:
        """A channel as `identity` that accepts only `server`."""
        files = self.data.tls_files(identity)
        credentials = grpc.ssl_channel_credentials(
            files.ca_file.read_bytes(), files.key_file.read_bytes(), files.cert_file.read_bytes()
        )
        options = (("grpc.ssl_target_name_override", server.replace("_", "-")),)
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options) as channel:
            yield channel


@asynccontextmanager
async def serving(
    folder: Path,
    name: str,
    services: list[str],
    servicers: list[tuple[Registrar, Any]],
    *,
    roles: Mapping[str, frozenset[str]] | None = None,
    max_calls: int = 100,
) -> AsyncIterator[LocalServer]:
    """A server of service `name`; `services` are the full names whose contract holds."""
    data = DataDir(folder)
    issue_certificates(data, (name, "gateway", "bot_manager", "logging"))
    files = data.tls_files(name)
    settings = ProcessSettings(listen="127.0.0.1:0")
    clock, issuer, policy, audit = SystemClock(), Issuer(), StaticPolicy(roles), RecordingAudit()
    keys = KeySource(issuer.jwks, clock)
    await keys.refresh_for(issuer.key_id)
    chain = Chain(
        (
            Observe(RpcMetrics(), clock),
            Overload(max_calls, max_calls),
            audit,
            Access(Authenticator(keys, clock), policy),
            Deadline(clock),
            Validation(),
        )
    )
    interceptor = MeshInterceptor(chain, policies_of(services), clock)
    server, port = build_server(
        settings,
        files,
        interceptor,
        Health(),
        services,
        servicers,
    )
    await server.start()
    try:
        yield LocalServer(port, data, issuer, policy, audit)
    finally:
        await server.stop(0)
