"""Alembic's entry to the migrations of this schema."""

from mesh.migrate import run_migrations
from services.configuration.store.tables import metadata

run_migrations("configuration", metadata)
