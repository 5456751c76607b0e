"""What the tests of the service share."""

from collections.abc import AsyncIterator

import pytest

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from tests.fakes.engines import database_of
from tests.integration.services.logging.trail import Trail, open_trail


@pytest.fixture
async def database(engines: EmbeddedMesh) -> AsyncIterator[Database]:
    """The service's schema, as its own role."""
    async with database_of(engines, "logging") as database:
        yield database


@pytest.fixture
async def trail(engines: EmbeddedMesh) -> AsyncIterator[Trail]:
    """An empty chain of the test's own, on the real engines."""
    async with open_trail(engines) as trail:
        yield trail
