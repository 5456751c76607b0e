"""Erases a person: what the trail's events and the log records of this actor tell of them.

The first transaction holds the erasure's own audit record and, for almost everybody, all there is to erase. Who left more than that is
erased in further ones, each bounded; if one fails, the call fails and erases the rest when it is repeated.
"""

from dataclasses import dataclass
from typing import Final

from mesh.database import Database
from services.logging.store.erasing import RecordEraser
from services.logging.store.statements import StatementStore

MOST: Final = 2_000
"""Rows a statement."""
STATEMENTS: Final = 5
"""Statements of each kind a transaction."""


@dataclass(frozen=True, slots=True)
class Erased:
    """How much was erased."""

    events: int = 0
    records: int = 0


class Eraser:
    """See the module."""

    def __init__(self, database: Database, statements: StatementStore, records: RecordEraser) -> None:
        self._database = database
        self._statements = statements
        self._records = records

    async def erase(self, actor: str) -> Erased:
        """Erase a user. What is erased already is not counted."""
        total, more, concludes = Erased(), True, True
        while more:
            events = records = 0
            async with self._database.transaction(concludes=concludes) as connection:
                for _ in range(STATEMENTS):
                    touched = await self._statements.erase(connection, actor, MOST)
                    changed = await self._records.erase(connection, actor, MOST)
                    events, records = events + touched, records + changed
                    more = MOST in (touched, changed)
                    if not more:
                        break
            concludes = False
            total = Erased(total.events + events, total.records + records)
        return total
