"""`vivesphere up`: the whole mesh on this machine, from certificates to gateway, until Ctrl-C or SIGTERM.

Engines, then the services and the sandbox side by side, then the gateway; stopped in the opposite order. A second Ctrl-C
while stopping kills what is left.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cli.child import ChildSpec
from cli.embedded import DOOR_STAGE, SERVICE_READY_SECONDS, SERVICE_STAGE, EmbeddedMesh
from cli.environment import gateway_environment, inherited, python_module
from cli.errors import CliError
from cli.first_user import FirstUser, discard_first_user, finish_first_user, prepare_first_user
from cli.layout import DataDir, make_private_directory
from cli.ports import LOOPBACK, require_free
from cli.probes import gateway_has_tls, http_ok
from cli.registry import PROJECT_ROOT
from cli.state import AlreadyRunning, running_pid
from cli.supervisor import Event

X_API_URL = "https://api.x.com"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - read, never listened on
X_AUTHORIZE_URL = "https://x.com/i/oauth2/authorize"
GATEWAY_STOP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `vivesphere up` was asked for. A port of 0 means any free one; `sandbox_port` None means no sandbox."""

    data_dir: Path
    http_port: int = 8080
    grpc_port: int = 9090
    sandbox_port: int | None = 8090
    http_host: str = LOOPBACK
    grpc_host: str = LOOPBACK
    fsync: bool = True


@dataclass(frozen=True, slots=True)
class Running:
    """What a person needs to know about a mesh that is up. `one_time_password` is set on the first start only."""

    console: str
    grpc: str
    sandbox: str | None
    one_time_password: str | None

    def __repr__(self) -> str:
        return f"Running({self.console}, {self.grpc}, {self.sandbox})"


async def run_up(
    options: UpOptions, report: Callable[[Event], None], announce: Callable[[Running], None]
) -> None:
    """Runs the mesh until a signal or cancellation. Raises what EmbeddedMesh raises, PortTaken for a door's port."""
    options = with_free_ports(options)
    mesh = EmbeddedMesh(options.data_dir, fsync=options.fsync, report=report, capture=True)
    _stop_on_signals(mesh)
    try:
        async with mesh:
            user = prepare_first_user(mesh.data)
            try:
                await start_processes(mesh, options, user)
            finally:
                discard_first_user(user)
            announce(_running(options, user))
            await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        return


def with_free_ports(options: UpOptions) -> UpOptions:
    """The options with every port a free one. Raises AlreadyRunning, PortTaken, or CliError for a port named twice."""
    pid = running_pid(DataDir(options.data_dir.absolute()))
    if pid is not None:  # before the ports, which that process holds
        raise AlreadyRunning(options.data_dir.absolute(), pid)
    sandbox = options.sandbox_port
    wanted = [port for port in (options.http_port, options.grpc_port, sandbox) if port]
    if len(set(wanted)) < len(wanted):
        raise CliError("--http-port, --grpc-port and --sandbox-port must be different ports")
    return UpOptions(
        data_dir=options.data_dir,
        http_port=require_free(options.http_port, "the console", "--http-port", options.http_host),
        grpc_port=require_free(options.grpc_port, "gRPC", "--grpc-port", options.grpc_host),
        sandbox_port=None if sandbox is None else require_free(sandbox, "the X sandbox", "--sandbox-port"),
        http_host=options.http_host,
        grpc_host=options.grpc_host,
        fsync=options.fsync,
    )


def _stop_on_signals(mesh: EmbeddedMesh) -> None:
    task = asyncio.current_task()
    asked: list[int] = []

    def stop(number: int) -> None:
        asked.append(number)
        if len(asked) > 1:
            mesh.supervisor.kill()
        elif task is not None:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            asyncio.get_running_loop().add_signal_handler(number, stop, number)


async def start_processes(mesh: EmbeddedMesh, options: UpOptions, user: FirstUser) -> None:
    """Start services, sandbox and gateway on engines that run; returns when all are ready."""
    mesh.extra.setdefault("bot_manager", {}).update(_addresses_of_x(options))
    first = {"authentication": user.environment}
    specs = [mesh.service_spec(service.name, first.get(service.name)) for service in mesh.registry]
    if options.sandbox_port is not None:
        specs.append(sandbox_spec(mesh.data, options.sandbox_port))
    await mesh.supervisor.start(SERVICE_STAGE, *specs)
    running = _running(options, user)
    mesh.addresses.update(console=running.console, grpc=running.grpc, sandbox=running.sandbox or "none")
    await mesh.supervisor.start(DOOR_STAGE, gateway_spec(mesh, options))
    # Only now: a start that fails before its password was shown is followed by one that brings another.
    finish_first_user(mesh.data, user)


def _addresses_of_x(options: UpOptions) -> dict[str, str]:
    """Where bot_manager finds X, and where X sends browsers back to."""
    host = LOOPBACK if options.http_host in EVERYWHERE else options.http_host
    public = {"VIVESPHERE_PUBLIC_URL": f"{_scheme()}://{host}:{options.http_port}"}
    real = {"VIVESPHERE_X_API_URL": X_API_URL, "VIVESPHERE_X_AUTHORIZE_URL": X_AUTHORIZE_URL}
    if options.sandbox_port is None:
        return {name: os.environ.get(name, value) for name, value in (public | real).items()}
    sandbox = f"http://{LOOPBACK}:{options.sandbox_port}"
    here = {"VIVESPHERE_X_API_URL": sandbox, "VIVESPHERE_X_AUTHORIZE_URL": sandbox + "/i/oauth2/authorize"}
    return {name: os.environ.get(name, value) for name, value in public.items()} | here


def _scheme() -> str:
    return "https" if gateway_has_tls() else "http"


def _running(options: UpOptions, user: FirstUser) -> Running:
    return Running(
        console=f"{_scheme()}://{options.http_host}:{options.http_port}/",
        grpc=f"{options.grpc_host}:{options.grpc_port}",
        sandbox=None if options.sandbox_port is None else f"http://{LOOPBACK}:{options.sandbox_port}",
        one_time_password=user.one_time_password,
    )


def sandbox_spec(data: DataDir, port: int) -> ChildSpec:
    """How to run the X sandbox, which keeps its accounts and posts; ready when the list of posts can be read."""
    state_file = make_private_directory(data.service("sandbox")) / "state.jsonl"

    async def ready() -> bool:
        return await http_ok(LOOPBACK, port, "/sandbox/posts")

    return ChildSpec(
        name="sandbox",
        argv=python_module("sandbox"),
        env=inherited()
        | {"VIVESPHERE_SANDBOX_PORT": str(port), "VIVESPHERE_SANDBOX_STATE_FILE": str(state_file)},
        cwd=PROJECT_ROOT,
        ready=ready,
        ports={"sandbox": port},
    )


def gateway_spec(mesh: EmbeddedMesh, options: UpOptions) -> ChildSpec:
    """How to run the gateway; ready when /readyz says so."""
    http = (options.http_host, options.http_port)
    grpc = (options.grpc_host, options.grpc_port)
    probed = LOOPBACK if options.http_host == "0.0.0.0" else options.http_host  # noqa: S104 - compared, not bound

    async def ready() -> bool:
        return await http_ok(probed, options.http_port, "/readyz", tls=gateway_has_tls())

    make_private_directory(mesh.data.service("gateway"))
    return ChildSpec(
        name="gateway",
        argv=python_module("gateway"),
        env=inherited()
        | gateway_environment(mesh.data, mesh.ports, mesh.registry, http, grpc)
        | {
            "VIVESPHERE_GATEWAY_DRAIN_SECONDS": "2"
        },  # streams would keep it for longer than stopping may take
        cwd=PROJECT_ROOT,
        ready=ready,
        ready_seconds=SERVICE_READY_SECONDS,
        stop_seconds=GATEWAY_STOP_SECONDS,
        ports={"http": options.http_port, "grpc": options.grpc_port},
    )
