"""Locks by name, held until the transaction ends: for what no row stands for."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


async def lock(connection: AsyncConnection, name: str) -> None:
    """Waits until it is ours."""
    await connection.execute(_LOCK, {"name": name})
