"""One service process from its first line to its last: what `services/<name>/assembly.py` assembles its parts on.

    settings → telemetry → messaging, database, outbox, audit, channels → the service's own parts → server → serve → drain → close

`run(name, assemble)` owns the event loop. SIGTERM or SIGINT end it at any point: what is still being assembled is given up, and every
wait of the stop has a bound. `assemble` gets a `Process`, makes the service's concrete objects with what the process
offers, and registers its servicers; it is the only place of a service where concrete classes meet. Nothing here waits for another
part of the mesh to be up: a process starts alone, says in its health what it misses, and finds it when it comes.
"""

import asyncio
import hashlib
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc.aio
import uvloop
from loguru import logger

from mesh.audit import AuditTrail
from mesh.channels import invoke, open_channel
from mesh.clock import Clock, SystemClock
from mesh.collecting import settle
from mesh.configuration import ConfigurationWatch, SettingDefinition
from mesh.configuration.file import CopyFile
from mesh.context import calling_with
from mesh.contract import policies_of, services_of
from mesh.database import Database, open_database
from mesh.errors import Unavailable
from mesh.health import Health
from mesh.identity.key_resolving import ApiKeyResolver, Introspection, RememberedKeys
from mesh.identity.keys import KeySource
from mesh.identity.revocations import Revocations, Source, feed_of_authentication
from mesh.identity.rules import Rules
from mesh.interceptors.access import Access, Authenticator
from mesh.interceptors.adapter import MeshInterceptor
from mesh.interceptors.chain import Chain
from mesh.interceptors.stages import Deadline, Observe, Overload, Validation
from mesh.memory import shield
from mesh.messaging import Messaging
from mesh.outbox import Outbox
from mesh.redaction.settings import follow_patterns
from mesh.server import Registrar, build_server, check_complete
from mesh.settings import ProcessSettings
from mesh.tasks import TaskSet, unless
from mesh.telemetry import configure, metrics
from mesh.telemetry.context import add_call_context
from mesh.telemetry.last_words import catch_strays
from mesh.telemetry.metrics import RpcMetrics, serve_metrics
from mesh.telemetry.shipper import LogShipper
from mesh.telemetry.tracing import exporter
from mesh.version import VERSION
from vivesphere.authentication.v1 import authentication_service_pb2, authentication_service_pb2_grpc

OUTBOX_ALARM = timedelta(seconds=60)

if TYPE_CHECKING:
    from mesh.vault import VaultClient

Assemble = Callable[["Process"], Coroutine[Any, Any, None]]


class Process:
    """What a service is assembled on. Attributes are ready when `assemble` is called."""

    def __init__(
        self, name: str, instance: str, settings: ProcessSettings, stack: AsyncExitStack, tasks: TaskSet
    ) -> None:
        self.name = name
        self.instance = instance
        self.settings = settings
        self.clock: Clock = SystemClock()
        self.health = Health()
        self.stack = stack
        self.tasks = tasks
        self.stopping = asyncio.Event()
        """Set when the process begins to stop: streams that would run for ever end then, so that draining does not wait for them."""
        self.messaging = Messaging(name, settings.nats_url, settings.tls)
        self.database: Database = open_database(settings, name)
        stack.push_async_callback(self.database.close)
        self.outbox = Outbox(self.database, self.messaging)
        self.audit = AuditTrail(name, self.instance, self.database, self.outbox, self.clock)
        self.metrics = RpcMetrics()
        self.configuration = ConfigurationWatch(
            name,
            self.instance,
            self.channel("configuration"),
            self.clock,
            self._configuration_file(),
            self.metrics.totals,
        )
        self.rules = Rules(self.configuration)
        follow_patterns(self.configuration)
        self.keys = KeySource(self._fetch_jwks, self.clock)
        self.revocations = self.follow_revocations(
            feed_of_authentication(self._authentication, self.instance)
        )
        self.api_keys: ApiKeyResolver | None = None
        """Knows whom API keys act for; None: authentication is asked, and its answers are remembered."""
        self.spans = exporter(name, self.instance)
        if self.spans is not None:
            stack.callback(self.spans.close)
        self.shipper = LogShipper(
            name, self.instance, self.messaging, settings.data_dir / "spool", version=VERSION
        )
        self._servicers: list[tuple[Registrar, Any]] = []

    def channel(self, service: str) -> grpc.aio.Channel:
        """A new channel to another service; closed with the process."""
        channel = open_channel(self.settings, service, services_of(service))
        self.stack.push_async_callback(channel.close)
        return channel

    def vault(self) -> "VaultClient":
        """A client of the vault under this service's own identity, kept signed in while the process runs."""
        from mesh.vault import open_vault  # loads an HTTP stack that most services do not need

        client = open_vault(self.settings, self.clock)
        self.stack.push_async_callback(client.close)
        self.tasks.spawn(client.run(), name="vault")
        self.health.add("vault", partial(_check_vault, client))
        return client

    def page_secret(self) -> bytes:
        """Key material for page tokens: the same in every replica of this service, unknown outside."""
        secret = self._secret("page secret")
        if secret is None:
            raise ValueError("VIVESPHERE_DATABASE_PASSWORD_FILE is not set")
        return secret

    def follow_revocations(self, source: Source) -> Revocations:
        """A copy of the feed from `source`, as strict as the settings say. Only authentication replaces the process's own by it."""
        return Revocations(source, self.clock, lambda: self.rules.max_staleness)

    def define_settings(self, *definitions: SettingDefinition[Any]) -> None:
        """Register the settings this service owns; configuration learns of them as soon as it answers."""
        self.configuration.define(definitions)

    def serve(self, register: Registrar, servicer: Any) -> None:
        """Add a servicer; `register` is the generated `add_…Servicer_to_server`."""
        self._servicers.append((register, servicer))

    async def start(self) -> grpc.aio.Server:
        """Begin to serve. Raises ContractError if a method carries no access rule, or a service of the contract is not served."""
        services = services_of(self.name)
        check_complete(services, self._servicers)
        interceptor = MeshInterceptor(self._chain(), policies_of(services), self.clock)
        server, port = build_server(
            self.settings, self.settings.tls, interceptor, self.health, services, self._servicers
        )
        self.health.add("database", self.database.check, vital=True)
        self.health.add("messaging", self.messaging.check)
        self.health.add("configuration", self.configuration.check)
        self.health.add("settings", self.configuration.check_settings, advisory=True)
        self.health.add("revocations", self.revocations.check)
        self.health.add("outbox", self._check_outbox)
        self.health.add("tasks", self.tasks.check)
        self.health.serves(services)
        self.configuration.load()
        for name, coroutine in (
            ("messaging", self.messaging.run()),
            ("log shipper", self.shipper.run()),
            ("outbox relay", self.outbox.relay()),
            ("outbox prune", self.outbox.prune()),
            ("signing keys", self.keys.run()),
            ("health", self.health.run()),
        ):
            self.tasks.spawn(coroutine, name=name)
        self.tasks.spawn_loop(self.configuration.run, name="configuration")
        self.revocations.listen(self.keys)
        self.tasks.spawn_loop(self.revocations.run, name="revocations")
        await server.start()
        logger.bind(port=port, services=services).info("serving")
        return server

    def _chain(self) -> Chain:
        settings = self.settings
        api_keys = self.api_keys or RememberedKeys(
            Introspection(self._authentication), self.revocations, self.clock, self.tasks
        )
        return Chain(
            (
                Observe(
                    self.metrics,
                    self.clock,
                    spans=self.spans,
                    debug=settings.log_level in ("TRACE", "DEBUG"),
                ),
                Overload(settings.max_calls, settings.max_streams),
                self.audit,
                Access(
                    Authenticator(self.keys, api_keys, self.revocations, self.clock),
                    self.configuration,
                    self.revocations,
                    self.rules,
                    self.clock,
                ),
                Deadline(self.clock),
                Validation(),
            )
        )

    def _secret(self, purpose: str) -> bytes | None:
        """Key material for one purpose, the same in every replica of this service and unknown outside; None without a database."""
        file = self.settings.database_password_file
        if file is None:
            return None
        return hashlib.sha256(f"vivesphere {purpose}\0".encode() + file.read_bytes().strip()).digest()

    def _configuration_file(self) -> CopyFile | None:
        key = self._secret("configuration copy")
        if key is None:
            return None
        max_age = timedelta(hours=self.settings.configuration_max_staleness_hours)
        return CopyFile(self.settings.data_dir, self.name, self.instance, key, max_age, self.clock)

    async def _check_outbox(self) -> None:
        age = await self.outbox.oldest_age_seconds()
        metrics.outbox_oldest_age_seconds.set(age)
        metrics.messaging_connected.set(self.messaging.connected)
        if age > OUTBOX_ALARM.total_seconds():
            raise Unavailable(
                "MESSAGING_UNAVAILABLE", "messages have been waiting to be published for too long"
            )

    async def _fetch_jwks(self) -> bytes:
        # Not with the credential and the deadline of the call that names an unknown key: it may be anybody's.
        with calling_with(""):
            response = await invoke(
                self._authentication().GetJwks, authentication_service_pb2.GetJwksRequest()
            )
        return bytes(response.jwks.data)

    def _authentication(self) -> Any:
        if not hasattr(self, "_authentication_stub"):
            self._authentication_stub = authentication_service_pb2_grpc.AuthenticationServiceStub(
                self.channel("authentication")
            )
        return self._authentication_stub


async def _check_vault(client: "VaultClient") -> None:
    client.check()


def run(name: str, assemble: Assemble) -> None:
    """Run the service until SIGTERM or SIGINT; then drain and close. Returns when everything is closed."""
    shield()
    uvloop.run(_run(name, assemble))


async def _run(name: str, assemble: Assemble) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    settings = ProcessSettings()
    instance = f"{name}-{socket.gethostname()}-{settings.listen.rpartition(':')[2]}"
    # Before anything can be logged: loguru's own first sink prints the values of variables.
    configure(name, instance, settings.log_level, enrich=add_call_context)
    catch_strays(loop)
    # Tasks end before what they stand on is closed.
    async with AsyncExitStack() as stack, TaskSet() as tasks:
        process = Process(name, instance, settings, stack, tasks)
        process.shipper.attach(settings.log_level)
        if settings.metrics_listen is not None:
            serve_metrics(settings.metrics_listen)
        await unless(stopping, assemble(process))
        if not stopping.is_set():
            await _serve(process, stopping)
        await process.shipper.close()


async def _serve(process: Process, stopping: asyncio.Event) -> None:
    """From the first call to the last one."""
    server = await process.start()
    settle()
    await stopping.wait()
    logger.info("stopping")
    process.stopping.set()
    await process.health.stop()
    await server.stop(process.settings.drain_seconds)
