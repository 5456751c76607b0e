"""A trail for each test that asks for one."""

from collections.abc import AsyncIterator

import pytest

from cli.embedded import EmbeddedMesh
from tests.integration.services.logging.trail import Trail, open_trail


@pytest.fixture
async def trail(engines: EmbeddedMesh) -> AsyncIterator[Trail]:
    """An empty chain of the test's own, on the real engines."""
    async with open_trail(engines) as trail:
        yield trail
