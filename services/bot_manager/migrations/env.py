"""Runs the migrations of schema `bot_manager`."""

from mesh.migrate import run_migrations
from services.bot_manager.store.tables import metadata

run_migrations("bot_manager", metadata)
