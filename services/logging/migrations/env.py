"""Alembic environment of the schema `logging`."""

from mesh.migrate import run_migrations
from services.logging.store.tables import metadata

run_migrations("logging", metadata)
