"""What the tests of the store share."""

from collections.abc import AsyncIterator

import pytest

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from tests.fakes.engines import database_of


@pytest.fixture
async def database(engines: EmbeddedMesh) -> AsyncIterator[Database]:
    """The service's schema, as its own role."""
    async with database_of(engines, "logging") as database:
        yield database
