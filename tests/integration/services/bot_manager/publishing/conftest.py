"""A rig for each test: empty tables, a fresh sandbox, the relay of the outbox running."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from mesh.outbox import Outbox
from mesh.tasks import TaskSet
from sandbox.app import running
from sandbox.settings import Settings
from tests.fakes.engines import messaging_of
from tests.integration.services.bot_manager.publishing.rig import Rig


@pytest.fixture
def sandbox_settings() -> Settings:
    """How X behaves."""
    return Settings(port=0, rate_limits=False)


@pytest.fixture
async def rig(engines: EmbeddedMesh, database: Database, sandbox_settings: Settings) -> AsyncIterator[Rig]:
    async with (
        messaging_of(engines, "bot_manager") as messaging,
        running(sandbox_settings) as url,
        aiohttp.ClientSession() as session,
        TaskSet() as tasks,
    ):
        tasks.spawn(Outbox(database, messaging).relay(), name="relay")
        rig = Rig(database, messaging, url, session)
        yield rig
        await rig.close()
