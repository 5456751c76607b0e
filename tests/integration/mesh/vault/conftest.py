"""One OpenBao for all tests of this folder; a client of its own for every test."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.vault import VaultClient
from tests.integration.mesh.vault.bao import Bao

NewClient = Callable[..., VaultClient]


@pytest.fixture(scope="session")
def bao() -> Iterator[Bao]:
    server = Bao(Path(tempfile.mkdtemp(prefix="bao-")))
    try:
        server.create()
        yield server
    finally:
        server.close()


@pytest.fixture
async def new_client(bao: Bao) -> AsyncIterator[NewClient]:
    """Makes clients that are closed after the test."""
    async with AsyncExitStack() as stack:

        def make(**options: Any) -> VaultClient:
            files = {
                "ca_file": bao.ca_file,
                "role_id_file": bao.role_id_file,
                "secret_id_file": bao.secret_id_file,
            }
            client = VaultClient(bao.address, **{"clock": SystemClock(), **files, **options})
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
def client(new_client: NewClient) -> VaultClient:
    return new_client()
