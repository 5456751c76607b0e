"""A whole mesh for the run: every service, the sandbox and the gateway as processes, on engines of their own.

The engines that other tests share would not do: a running bot_manager claims whatever post is due, also those of other tests.

The supervisor lives in the event loop of the session and reads what the processes print; while that loop stands still they would block
on full pipes. So tests that are not coroutines run in a thread, and the loop goes on.

Every way out that a process has is open: metrics, traces, and the finest log of the two services that see most secrets.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import httpx
import pytest

from cli.embedded import EmbeddedMesh
from cli.first_user import prepare_first_user
from cli.ports import LOOPBACK, assign_ports
from cli.registry import load_registry
from cli.rest import Api
from cli.up import UpOptions, start_processes, with_free_ports
from mesh.telemetry.tracing import ENDPOINT
from tests.fakes.collector import Collector, collecting

PASSWORD = "a password of this test run"
PATIENCE_SECONDS = 60
TALKATIVE = ("authentication", "secure_bot_data")


@dataclass(frozen=True, slots=True)
class Running:
    """Where the mesh of this run listens."""

    mesh: EmbeddedMesh
    loop: asyncio.AbstractEventLoop
    url: str
    grpc: str
    sandbox: str
    metrics: Mapping[str, str]
    """Where each service shows its metrics."""
    collector: Collector

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """The mesh without one of its processes, for the length of the block; afterwards, once the gateway finds all of it ready again.

        For tests in a thread.
        """
        outage = self.mesh.supervisor.without(name)
        asyncio.run_coroutine_threadsafe(outage.__aenter__(), self.loop).result(PATIENCE_SECONDS)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(outage.__aexit__(None, None, None), self.loop).result(
                PATIENCE_SECONDS
            )
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the gateway reaches every service and each has what it needs. For tests in a thread."""
        end = time.monotonic() + PATIENCE_SECONDS
        while httpx.get(f"{self.url}/readyz", timeout=10).status_code != HTTPStatus.OK:
            assert time.monotonic() < end, "the mesh does not become ready again"
            time.sleep(0.05)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is not a coroutine in a thread, see above."""
    running = pyfuncitem.funcargs.get("running")
    if running is None or pyfuncitem.get_closest_marker("asyncio") is not None:
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}
    running.loop.run_until_complete(asyncio.to_thread(pyfuncitem.obj, **arguments))
    return True


@pytest.fixture(scope="package")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """The mesh, ready; stopped when the last test of this folder is done."""
    folder = tmp_path_factory.mktemp("running")
    options = with_free_ports(UpOptions(data_dir=folder, http_port=0, grpc_port=0, sandbox_port=0))
    names = [service.name for service in load_registry()]
    ports = assign_ports(names, {})
    with collecting() as collector:
        extra = {name: _open_wide(name, ports[name], collector) for name in names}
        async with EmbeddedMesh(folder, fsync=False, extra=extra) as mesh:
            user = prepare_first_user(mesh.data, {"VIVESPHERE_ADMIN_PASSWORD": PASSWORD})
            await start_processes(mesh, options, user)
            yield Running(
                mesh,
                asyncio.get_running_loop(),
                f"http://{LOOPBACK}:{options.http_port}",
                f"{LOOPBACK}:{options.grpc_port}",
                f"http://{LOOPBACK}:{options.sandbox_port}",
                {name: f"http://{LOOPBACK}:{port}/metrics" for name, port in ports.items()},
                collector,
            )


def _open_wide(name: str, metrics_port: int, collector: Collector) -> dict[str, str]:
    return {
        "VIVESPHERE_METRICS_LISTEN": f"{LOOPBACK}:{metrics_port}",
        "VIVESPHERE_LOG_LEVEL": "TRACE" if name in TALKATIVE else "INFO",
        ENDPOINT: collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "500",
    }


@pytest.fixture
def api(running: Running) -> Iterator[Api]:
    """The REST API, signed in as the administrator."""
    with Api(running.url) as api:
        api.sign_in("admin", PASSWORD)
        yield api


@pytest.fixture
def anonymous(running: Running) -> Iterator[Api]:
    """The REST API without a token."""
    with Api(running.url) as api:
        yield api


@pytest.fixture
def sandbox(running: Running) -> Iterator[Api]:
    """X."""
    with Api(running.sandbox) as api:
        yield api
