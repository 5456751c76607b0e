"""Runs the migrations of schema `secure_bot_data`."""

from mesh.migrate import run_migrations
from services.secure_bot_data.store.tables import metadata

run_migrations("secure_bot_data", metadata)
