"""One vault for all tests of this folder; a client of its own for every test."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.vault import AppRole, VaultClient
from tests.integration.mesh.vault.bao import Bao, Vault
from tests.integration.mesh.vault.existing import WHY_SKIPPED, existing_vault, names_of_this_run

NewClient = Callable[..., VaultClient]


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """The vault that VAULT_ADDR names, or else a server of our own."""
    found = existing_vault()
    if found is None:
        server = Bao(Path(tempfile.mkdtemp(prefix="bao-")))
        try:
            server.create()
            yield server
        finally:
            server.close()
        return
    vault = Vault(found.address, found.ca_file, tmp_path_factory.mktemp("vault"), names_of_this_run())
    vault.sign_in(found.token)
    try:
        vault.create()
        yield vault
    finally:
        vault.remove()


@pytest.fixture
def bao(vault: Vault) -> Bao:
    """A server that the test may stop, seal and restart."""
    if not isinstance(vault, Bao):
        pytest.skip(WHY_SKIPPED)
    return vault


@pytest.fixture
async def new_client(vault: Vault) -> AsyncIterator[NewClient]:
    """Makes clients that are closed after the test."""
    async with AsyncExitStack() as stack:

        def make(**options: Any) -> VaultClient:
            options = {
                "ca_file": vault.ca_file,
                "credentials": AppRole(vault.role_id_file, vault.secret_id_file, vault.names.approle_mount),
                "clock": SystemClock(),
                "kv_mount": vault.names.kv_mount,
                "transit_mount": vault.names.transit_mount,
                **options,
            }
            client = VaultClient(vault.address, **options)
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
def client(new_client: NewClient) -> VaultClient:
    return new_client()
