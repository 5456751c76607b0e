"""A mesh on one machine: engines, set-up and, if wanted, services, all below one data directory.

    async with EmbeddedMesh(directory, fsync=False) as mesh:          # engines only, for tests
        environment = mesh.environment("logging")
    async with EmbeddedMesh(directory, services=["logging"]) as mesh: # and this service as a process

The three engines are started and set up side by side, since none needs another. The data directory is locked meanwhile;
ports are remembered in its state file. Must be used from the main thread: children are tied to the thread that started them.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cli.child import ChildSpec
from cli.engines.nats import GATEWAY, nats_spec
from cli.engines.openbao import address as openbao_address
from cli.engines.openbao import openbao_spec
from cli.engines.postgres import ADMIN_ROLE, admin_password_file, postgres_spec
from cli.environment import inherited, python_module, service_environment
from cli.layout import DataDir, make_private_directory
from cli.pki import OTHER_IDENTITIES, issue_certificates
from cli.ports import LOOPBACK, assign_ports
from cli.probes import grpc_serves
from cli.registry import PROJECT_ROOT, Service, load_registry
from cli.setup import streams, vault
from cli.setup.database import DatabaseAdmin, prepare_database
from cli.setup.vault_init import root_token
from cli.state import ChildState, Lock, State, read_state, write_state
from cli.supervisor import Event, Supervisor
from cli.terminal import Lines

if TYPE_CHECKING:
    from cli.terminal_shipping import TerminalShipping

ENGINE_STAGE, SERVICE_STAGE, DOOR_STAGE = 1, 2, 3
ENGINE_PORTS = ("postgres", "nats", "openbao", "openbao_cluster")

SERVICE_READY_SECONDS = 60.0  # five Python programs starting at once on a small machine
SERVICE_STOP_SECONDS = 4.0
DRAIN_SECONDS = 1.5  # of these; the rest is for logs, messages and connections while engines hang


class EmbeddedMesh:
    """Starts on `async with`, stops at its end. Everything public is usable in between.

    `services` are the names of services to run as processes; `registry` defaults to services/registry.toml. `extra` are further
    variables by service name. `capture` also makes log records of what the processes print. Entering raises AlreadyRunning, PortTaken, ChildFailed, EngineMissing, VaultUnusable or the error
    of a set-up step; whatever had started is stopped by then.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        fsync: bool = True,
        services: Iterable[str] = (),
        registry: Sequence[Service] | None = None,
        extra: Mapping[str, Mapping[str, str]] | None = None,
        report: Callable[[Event], None] = lambda event: None,
        capture: bool = False,
    ) -> None:
        self.data = DataDir(data_dir.absolute())
        self.registry = tuple(load_registry() if registry is None else registry)
        self.ports: dict[str, int] = {}
        self.addresses: dict[str, str] = {}
        self.extra = {name: dict(variables) for name, variables in (extra or {}).items()}
        self._lines = Lines() if capture else None
        self._terminal: TerminalShipping | None = None
        self.supervisor = Supervisor(self.data.logs, report, self._save_state, self._lines)
        self._wanted = tuple(services)
        self._fsync = fsync
        self._resources = ExitStack()
        self._started_at = time.time()

    async def __aenter__(self) -> "EmbeddedMesh":
        self._resources.enter_context(Lock(self.data))
        try:
            self._prepare()
            await self._start_engines()
            if self._wanted:
                await self.supervisor.start(
                    SERVICE_STAGE, *(self.service_spec(name) for name in self._wanted)
                )
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def admin(self) -> DatabaseAdmin:
        """The right to administer the database."""
        return DatabaseAdmin(
            LOOPBACK, self.ports["postgres"], ADMIN_ROLE, admin_password_file(self.data), "disable"
        )

    @property
    def nats_url(self) -> str:
        return f"tls://{LOOPBACK}:{self.ports['nats']}"

    @property
    def vault_address(self) -> str:
        return openbao_address(self.ports["openbao"])

    def service(self, name: str) -> Service:
        """The registered service. Raises KeyError."""
        return {service.name: service for service in self.registry}[name]

    def environment(self, name: str) -> dict[str, str]:
        """The VIVESPHERE_ variables of a service, for a process of its own or for settings made in this one."""
        own = service_environment(self.service(name), self.data, self.ports, self.registry)
        return own | self.extra.get(name, {})

    def service_spec(self, name: str, first_env: Mapping[str, str] | None = None) -> ChildSpec:
        """How to run a service as a process; ready when its health answers SERVING over mutual TLS.

        `first_env` are variables for the first start only.
        """
        port, tls = self.ports[name], self.data.tls_files("gateway")
        dns_name = self.service(name).dashed

        async def ready() -> bool:
            return await grpc_serves(f"{LOOPBACK}:{port}", dns_name, tls)

        make_private_directory(self.data.service(name))
        return ChildSpec(
            name=name,
            argv=python_module(f"services.{name}"),
            env=inherited() | {"VIVESPHERE_DRAIN_SECONDS": str(DRAIN_SECONDS)} | self.environment(name),
            cwd=PROJECT_ROOT,
            ready=ready,
            ready_seconds=SERVICE_READY_SECONDS,
            stop_seconds=SERVICE_STOP_SECONDS,
            first_env=first_env or {},
            ports={name: port},
        )

    def _prepare(self) -> None:
        names = [service.name for service in self.registry]
        self.ports = assign_ports((*ENGINE_PORTS, *names), read_state(self.data).ports)
        issue_certificates(self.data, (*names, *OTHER_IDENTITIES))
        self._save_state()

    async def _start_engines(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._start_postgres(), name="postgres")
                tasks.create_task(self._start_nats(), name="nats")
                tasks.create_task(self._start_openbao(), name="openbao")
                if self._lines is not None:
                    tasks.create_task(self._start_capture(self._lines), name="terminal")
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _start_postgres(self) -> None:
        spec = await postgres_spec(self.data, self.ports["postgres"], fsync=self._fsync)
        await self.supervisor.start(ENGINE_STAGE, spec)
        await asyncio.to_thread(prepare_database, self.admin, self.data, self.registry)

    async def _start_nats(self) -> None:
        await self.supervisor.start(ENGINE_STAGE, nats_spec(self.data, self.ports["nats"], self.registry))
        await streams.prepare_streams(self.nats_url, self.data.tls_files("setup"), self.registry)

    async def _start_capture(self, lines: Lines) -> None:
        self._terminal = await asyncio.to_thread(self._open_capture, lines)
        await self._terminal.start()

    def _open_capture(self, lines: Lines) -> "TerminalShipping":
        from cli.terminal_shipping import TerminalShipping  # takes a second to load, while the engines start

        spool = make_private_directory(self.data.service("supervisor")) / "spool"
        names = [*(service.name for service in self.registry), GATEWAY.name]
        return TerminalShipping(lines, self.nats_url, self.data.tls_files("supervisor"), spool, names)

    async def _start_openbao(self) -> None:
        spec = openbao_spec(self.data, self.ports["openbao"], self.ports["openbao_cluster"])
        await self.supervisor.start(ENGINE_STAGE, spec)
        await asyncio.to_thread(self._prepare_vault)

    def _prepare_vault(self) -> None:
        authority = self.data.tls_files("setup").ca_file
        token = root_token(self.vault_address, authority, self.data.secret("setup", "vault_keys.json"))
        client = vault.connect(self.vault_address, authority, token)
        vault.prepare_vault(client, self.data, self.registry)

    async def _stop(self) -> None:
        await self.supervisor.stop()
        if self._terminal is not None:
            await self._terminal.close()
        self._resources.close()

    def _save_state(self) -> None:
        children = [
            ChildState(child.spec.name, child.pid, child.started_at, dict(child.spec.ports))
            for child in self.supervisor.children
        ]
        supervisor = {"pid": float(os.getpid()), "started": self._started_at}
        write_state(self.data, State(supervisor, dict(self.ports), dict(self.addresses), children))
