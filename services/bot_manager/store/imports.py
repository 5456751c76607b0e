"""Imports on PostgreSQL. Implements `domain.importing.ImportStore`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.ids import new_id
from services.bot_manager.domain.importing import Result, RowError
from services.bot_manager.domain.model import Change
from services.bot_manager.store.ports import RequestKey
from services.bot_manager.store.requests import first_result, recall
from services.bot_manager.store.tables.imports import imports
from services.bot_manager.store.writing import insert_posts

AT_ONCE: Final = 500
"""Posts that are sent to the server together."""
MOST_SECONDS: Final = 60
"""How long the largest file may take to be stored on a busy machine."""


class PostgresImports:
    """`instance` names this process in the stories it writes."""

    def __init__(self, database: Database, instance: str) -> None:
        self._database = database
        self._instance = instance

    async def recall(self, key: RequestKey, now: datetime) -> Result | None:
        """See the port."""
        async with self._database.read() as connection:
            first = await recall(connection, key, now)
            return None if first is None else await _result(connection, first)

    async def store(
        self, bot_id: str, made: Sequence[Change], result: Result, key: RequestKey | None, now: datetime
    ) -> Result:
        """See the port."""
        import_id = new_id()
        async with self._database.transaction(seconds=MOST_SECONDS) as connection:
            first = await first_result(connection, key, import_id, now) if key else None
            if first is not None:
                return await _result(connection, first)
            for start in range(0, len(made), AT_ONCE):
                await insert_posts(connection, made[start : start + AT_ONCE], now, self._instance)
            if key is not None:
                row = {"id": import_id, "bot_id": bot_id, "result": asdict(result), "create_time": now}
                await connection.execute(insert(imports), [row])
        return result


async def _result(connection: AsyncConnection, import_id: str) -> Result:
    document: Mapping[str, Any] = (
        await connection.execute(select(imports.c.result).where(imports.c.id == import_id))
    ).scalar_one()
    return Result(**{**document, "errors": [RowError(**error) for error in document["errors"]]})
