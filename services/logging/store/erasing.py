"""Erases what log records tell of a user: who did it, and the attributes where they name the user.

Records of USER_ACTIVITY say no more of a person than that; their bodies hold a method and an outcome.
"""

from typing import Final, Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# The keys are looked up first, so that each row is found again by the index of its own partition. The second condition is that of the
# index on actors.
_ERASE: Final = text("""
    WITH found AS (SELECT category, time, id FROM records WHERE actor = :actor AND actor <> '' LIMIT :most)
    UPDATE records SET
      actor = '',
      attributes = CASE WHEN position(:actor IN records.attributes::text) > 0 THEN '{}' ELSE records.attributes END
    FROM found
    WHERE records.category = found.category AND records.time = found.time AND records.id = found.id
""")


class RecordEraser(Protocol):
    """Erases a user's records, some at a time."""

    async def erase(self, connection: AsyncConnection, actor: str, most: int) -> int:
        """Erase at most `most` records of a user. Returns how many they were."""


class PostgresRecordEraser:
    """RecordEraser on PostgreSQL."""

    async def erase(self, connection: AsyncConnection, actor: str, most: int) -> int:
        """See RecordEraser."""
        return (await connection.execute(_ERASE, {"actor": actor, "most": most})).rowcount
