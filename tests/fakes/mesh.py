"""A mesh server in this process: the real chain over real mutual TLS, with the few things around it that need no engine."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from cli.layout import DataDir
from cli.pki import issue_certificates
from mesh.authorization import Policy
from mesh.clock import SystemClock
from mesh.context import Call
from mesh.contract import policies_of
from mesh.errors import Unavailable
from mesh.health import Health
from mesh.identity.keys import KeySource
from mesh.interceptors.access import Access, Authenticator
from mesh.interceptors.adapter import MeshInterceptor
from mesh.interceptors.chain import Chain, ServicerContext
from mesh.interceptors.stages import Deadline, Observe, Overload, Validation
from mesh.server import Registrar, build_server
from mesh.settings import ProcessSettings
from mesh.telemetry.metrics import RpcMetrics
from tests.fakes.issuer import Issuer


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
