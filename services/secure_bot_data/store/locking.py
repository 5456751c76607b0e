"""Locks by name, held until the transaction ends."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# In the order of the locks' numbers, so that two batches never wait for each other.
_LOCK: Final = text(
    "SELECT pg_advisory_xact_lock(number) FROM ("
    "SELECT hashtextextended(name, 0) AS number FROM unnest(CAST(:names AS text[])) AS name ORDER BY 1) AS locks"
)


async def lock(connection: AsyncConnection, names: Sequence[str]) -> None:
    """Waits until all of them are ours."""
    await connection.execute(_LOCK, {"names": names})
