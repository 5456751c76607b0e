"""The library on the shared PostgreSQL, emptied for each test."""

import pytest
from sqlalchemy import text

from mesh.database import Database
from services.bot_manager.store.library import PostgresLibrary


@pytest.fixture
async def library(database: Database) -> PostgresLibrary:
    """No media of any bot, or of none."""
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM media"))
    return PostgresLibrary(database)
