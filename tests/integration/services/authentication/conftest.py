"""The use cases of authentication on a real PostgreSQL, with a clock that is turned by hand and a sealer that can go away."""

from collections.abc import AsyncIterator

import pytest

from cli.embedded import EmbeddedMesh
from mesh.database import Database

from .support import World, build, open_schema, wipe


@pytest.fixture
async def database(engines: EmbeddedMesh) -> AsyncIterator[Database]:
    """The schema, empty before and after."""
    opened = open_schema(engines.environment("authentication"))
    await wipe(opened)
    yield opened
    await wipe(opened)
    await opened.close()


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    """Everything, with a signing key and hashes that cost next to nothing."""
    made = build(database)
    await made.keyring.refresh()
    await made.server_secret.refresh()
    yield made
    made.hashing.close()
