"""A history of its own for each test, in the real database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from cli.embedded import EmbeddedMesh
from mesh.database import Database, open_database
from mesh.settings import ProcessSettings
from services.configuration.store.instances import PostgresInstances
from services.configuration.store.postgres import PostgresStore

_TABLES = (
    "changes",
    "revisions",
    "settings",
    "definitions",
    "role_bindings",
    "roles",
    "instances",
    "idempotency",
)


@pytest.fixture
async def database(engines: EmbeddedMesh) -> AsyncIterator[Database]:
    """The database as the service's own role sees it, with an empty history."""
    environment = engines.environment("configuration")
    settings = ProcessSettings(
        database_url=environment["VIVESPHERE_DATABASE_URL"],
        database_password_file=Path(environment["VIVESPHERE_DATABASE_PASSWORD_FILE"]),
    )
    database = open_database(settings, "configuration")
    await _empty(database)
    yield database
    await _empty(database)
    await database.close()


@pytest.fixture
def store(database: Database) -> PostgresStore:
    """The store on it."""
    return PostgresStore(database)


@pytest.fixture
def instances(database: Database) -> PostgresInstances:
    """What is known of watchers."""
    return PostgresInstances(database)


async def _empty(database: Database) -> None:
    async with database.transaction() as connection:
        for table in _TABLES:
            await connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names of our own tables
        await connection.execute(
            text(
                "UPDATE config_head SET revision = 0, oldest_revision = 0, history_id = gen_random_uuid(), built_in_release = ''"
            )
        )
