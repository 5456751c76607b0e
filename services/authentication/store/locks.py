"""Locks that all replicas share and that no row stands for. They are the database's, not the schema's, and end with the transaction."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_NAMESPACE: Final = 0x61757468
"""This service's own."""
ACCOUNTS: Final = 0x6163636F
SIGNING_KEYS: Final = 0x6B657973


async def take(connection: AsyncConnection, lock: int) -> None:
    """Wait for the lock and hold it until the transaction ends."""
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(:namespace, :lock)"), {"namespace": _NAMESPACE, "lock": lock}
    )
