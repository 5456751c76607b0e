"""A whole mesh for the run: every service, the sandbox and the gateway as processes on the shared engines."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from cli.embedded import EmbeddedMesh
from cli.first_user import prepare_first_user
from cli.rest import Api
from cli.up import UpOptions, start_processes, with_free_ports

PASSWORD = "a password of this test run"


@dataclass(frozen=True, slots=True)
class Running:
    """Where the mesh of this run listens."""

    mesh: EmbeddedMesh
    url: str
    grpc: str
    sandbox: str


@pytest.fixture(scope="session")
async def running(engines: EmbeddedMesh) -> AsyncIterator[Running]:
    """The mesh, ready; the engines' fixture stops its processes."""
    wanted = UpOptions(data_dir=engines.data.root / "elsewhere", http_port=0, grpc_port=0, sandbox_port=0)
    options = with_free_ports(wanted)
    user = prepare_first_user(engines.data, {"VIVESPHERE_ADMIN_PASSWORD": PASSWORD})
    await start_processes(engines, options, user)
    yield Running(
        engines,
        f"http://127.0.0.1:{options.http_port}",
        f"127.0.0.1:{options.grpc_port}",
        f"http://127.0.0.1:{options.sandbox_port}",
    )


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
