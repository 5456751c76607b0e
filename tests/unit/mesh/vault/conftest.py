"""A scripted vault and clients of it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.vault import AppRole, VaultClient
from tests.unit.mesh.vault.scripted import ScriptedVault

NewClient = Callable[..., VaultClient]


@pytest.fixture
def vault() -> Iterator[ScriptedVault]:
    server = ScriptedVault()
    yield server
    server.close()


@pytest.fixture
def other_vault() -> Iterator[ScriptedVault]:
    server = ScriptedVault()
    yield server
    server.close()


@pytest.fixture
async def new_client(vault: ScriptedVault, tmp_path: Path) -> AsyncIterator[NewClient]:
    """Makes clients that are closed after the test."""
    (tmp_path / "role-id").write_text("role\n")
    (tmp_path / "secret-id").write_text("canary-secret-id\n")
    async with AsyncExitStack() as stack:

        def make(addresses: Any = None, **options: Any) -> VaultClient:
            credentials = options.pop("credentials", None) or AppRole(
                tmp_path / "role-id", tmp_path / "secret-id"
            )
            options = {"clock": SystemClock(), **options}
            client = VaultClient(addresses or vault.address, tmp_path / "ca.pem", credentials, **options)
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
def client(new_client: NewClient) -> VaultClient:
    return new_client()
