"""A world for each test."""

import pytest

from mesh.database import Database
from tests.integration.services.bot_manager.schedules.world import World


@pytest.fixture
def world(database: Database) -> World:
    return World(database)
