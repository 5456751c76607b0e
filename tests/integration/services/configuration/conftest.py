"""A history of its own for each test, in the real database."""

from collections.abc import AsyncIterator

import pytest

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from services.configuration.store.instances import PostgresInstances
from services.configuration.store.postgres import PostgresStore
from tests.integration.services.configuration.history import empty_history


@pytest.fixture
async def database(engines: EmbeddedMesh) -> AsyncIterator[Database]:
    """An empty history."""
    async with empty_history(engines) as database:
        yield database


@pytest.fixture
def store(database: Database) -> PostgresStore:
    """The store on it."""
    return PostgresStore(database)


@pytest.fixture
def instances(database: Database) -> PostgresInstances:
    """What is known of watchers."""
    return PostgresInstances(database)
