"""Alembic's entry for this schema."""

from mesh.migrate import run_migrations
from services.authentication.store.tables import metadata

run_migrations("authentication", metadata)
