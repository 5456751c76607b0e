"""A mesh server in this process: the real chain over real mutual TLS, with the few things around it that need no engine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from cli.layout import DataDir
from cli.pki import issue_certificates
from mesh.authorization import Policy
from mesh.clock import SystemClock
from mesh.context import Call, Principal
from mesh.contract import policies_of
from mesh.errors import Unavailable
from mesh.health import Health
from mesh.identity.api_keys import new_api_key
from mesh.identity.key_resolving import RememberedKeys
from mesh.identity.keys import KeySource
from mesh.identity.revocations import Revocations
from mesh.interceptors.access import Access, Authenticator
from mesh.interceptors.adapter import MeshInterceptor
from mesh.interceptors.chain import Chain, ServicerContext
from mesh.interceptors.stages import Deadline, Observe, Overload, Validation
from mesh.server import Registrar, build_server
from mesh.settings import ProcessSettings
from mesh.tasks import TaskSet
from mesh.telemetry.metrics import RpcMetrics
from tests.fakes.issuer import Issuer
from tests.fakes.revocations import Feed


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
class SettableRules:
    """The settings that the access stage enforces, at their defaults."""

    step_up_max_age: timedelta = timedelta(minutes=15)
    second_factor_required: bool = False
    max_staleness: timedelta = timedelta(seconds=15)


@dataclass(slots=True)
class KeyDirectory:
    """Whom API keys act for, as authentication would know it; keys that were not added are not good."""

    principals: dict[str, Principal] = field(default_factory=dict)
    asked: int = 0
    failing: bool = False

    def add(self, *roles: str, scope: tuple[str, ...] = ("*",), life: float = 3600, **changes: Any) -> str:
        """A new key that may use `scope` of what the roles hold."""
        key = new_api_key()
        expire_time = datetime.now(UTC) + timedelta(seconds=life)
        made = Principal(
            "user-1", "", f"key-{len(self.principals)}", roles, expire_time, scope=frozenset(scope)
        )
        self.principals[key] = replace(made, **changes)
        return key

    async def resolve(self, key: str) -> Principal | None:
        """See ApiKeyResolver."""
        self.asked += 1
        if self.failing:
            raise Unavailable("SERVICE_UNAVAILABLE", "authentication is away")
        return self.principals.get(key)


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
    rules: SettableRules
    feed: Feed
    """Says what is revoked; may fall silent."""
    revocations: Revocations
    api_keys: KeyDirectory
    keys: KeySource

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
    feeding: bool = True,
) -> AsyncIterator[LocalServer]:
    """A server of service `name`; `services` are the full names whose contract holds. `feeding`: it has read the revocations."""
    data = DataDir(folder)
    issue_certificates(data, (name, "gateway", "bot_manager", "logging"))
    files = data.tls_files(name)
    settings = ProcessSettings(listen="127.0.0.1:0")
    clock, issuer, policy, audit = SystemClock(), Issuer(), StaticPolicy(roles), RecordingAudit()
    rules, feed, api_keys = SettableRules(), Feed(), KeyDirectory()
    revocations = Revocations(feed.watch, clock, lambda: rules.max_staleness)
    keys = KeySource(issuer.jwks, clock)
    await keys.refresh_for(issuer.key_id)
    revocations.listen(keys)
    async with TaskSet() as tasks:
        remembered = RememberedKeys(api_keys, revocations, clock, tasks)
        authenticator = Authenticator(keys, remembered, revocations, clock)
        chain = Chain(
            (
                Observe(RpcMetrics(), clock),
                Overload(max_calls, max_calls),
                audit,
                Access(authenticator, policy, revocations, rules, clock),
                Deadline(clock),
                Validation(),
            )
        )
        server, port = build_server(
            settings,
            files,
            MeshInterceptor(chain, policies_of(services), clock),
            Health(),
            services,
            servicers,
        )
        if feeding:
            tasks.spawn(revocations.run(), name="revocations")
            await until(lambda: revocations.loaded)
        await server.start()
        try:
            yield LocalServer(port, data, issuer, policy, audit, rules, feed, revocations, api_keys, keys)
        finally:
            await server.stop(0)


async def until(question: Callable[[], bool]) -> None:
    """Return once the answer is yes."""
    async with asyncio.timeout(30):
        while not question():
            await asyncio.sleep(0.005)
