"""The service's database, emptied for a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import text

from cli.embedded import EmbeddedMesh
from mesh.database import Database, open_database
from mesh.settings import ProcessSettings

_TABLES = (
    "changes",
    "revisions",
    "settings",
    "definitions",
    "role_bindings",
    "roles",
    "setting_changes",
    "pending_settings",
    "instance_calls",
    "instances",
    "idempotency",
)
_NEW_HISTORY = "UPDATE config_head SET revision = 0, oldest_revision = 0, history_id = gen_random_uuid(), built_in_release = ''"


@asynccontextmanager
async def open_history(engines: EmbeddedMesh) -> AsyncIterator[Database]:
    """The database as the service's own role sees it, as it is; empty afterwards."""
    environment = engines.environment("configuration")
    settings = ProcessSettings(
        database_url=environment["VIVESPHERE_DATABASE_URL"],
        database_password_file=Path(environment["VIVESPHERE_DATABASE_PASSWORD_FILE"]),
    )
    database = open_database(settings, "configuration")
    try:
        yield database
        await empty(database)
    finally:
        await database.close()


@asynccontextmanager
async def empty_history(engines: EmbeddedMesh) -> AsyncIterator[Database]:
    """As `open_history`, with a history that has just begun, and no service that remembers another."""
    async with open_history(engines) as database:
        await empty(database)
        for copy in engines.data.root.glob("**/configuration-*.copy"):
            copy.unlink()
        yield database


async def empty(database: Database) -> None:
    """Begin another history."""
    async with database.transaction() as connection:
        for table in _TABLES:
            await connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names of our own tables
        await connection.execute(text(_NEW_HISTORY))
