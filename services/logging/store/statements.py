"""Keeps what vouches for the chain, and does the two removals that the database allows: erasing, and removing what is too old.

Checkpoints and tombstones lie here as they were signed. Reading them proves nothing: whoever relies on one verifies its note.
"""

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Table, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from services.logging.domain.notes import Statement
from services.logging.store.tables import audit_checkpoints, audit_tombstones

Place = tuple[int, bytes]
"""Sequence and hash: where a checkpoint stands in their order."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement with the note that says it and the key that signed it, as text."""

    statement: Statement
    note: str
    key: str


class StatementStore(Protocol):
    """What the service needs of a store of signed statements."""

    async def keep(self, checkpoint: Signed) -> None:
        """Add a checkpoint; one that is there already is left as it is."""

    async def newest(self, chain: str) -> Signed | None:
        """The checkpoint that covers most."""

    async def checkpoints(
        self, chain: str, after: Place | None, limit: int, *, oldest_first: bool = False
    ) -> list[Signed]:
        """At most `limit` checkpoints behind a place, newest first unless said otherwise."""

    async def tombstones(self, chain: str) -> list[Signed]:
        """All, oldest first."""

    async def remove(self, connection: AsyncConnection, tombstone: Signed) -> int:
        """Remove the events that the tombstone accounts for, and keep it. Returns how many they were."""

    async def erase(self, connection: AsyncConnection, actor: str, most: int) -> int:
        """Erase what at most `most` events tell of a user. Returns how many they were."""


class PostgresStatementStore:
    """StatementStore on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, checkpoint: Signed) -> None:
        """See StatementStore."""
        said = checkpoint.statement
        row = {
            "chain": said.chain,
            "sequence": said.sequence,
            "hash": said.hash,
            "time": said.time,
            "note": checkpoint.note,
            "verifier_key": checkpoint.key,
        }
        async with self._database.transaction(concludes=False) as connection:
            await connection.execute(insert(audit_checkpoints).values(row).on_conflict_do_nothing())

    async def newest(self, chain: str) -> Signed | None:
        """See StatementStore."""
        return next(iter(await self.checkpoints(chain, None, 1)), None)

    async def checkpoints(
        self, chain: str, after: Place | None, limit: int, *, oldest_first: bool = False
    ) -> list[Signed]:
        """See StatementStore."""
        columns = audit_checkpoints.c
        place = tuple_(columns.sequence, columns.hash)
        query = select(audit_checkpoints).where(columns.chain == chain).limit(limit)
        if after is not None:
            query = query.where(place > after if oldest_first else place < after)
        order = (columns.sequence, columns.hash)
        query = query.order_by(*(order if oldest_first else (column.desc() for column in order)))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [
            Signed(Statement(row.chain, row.sequence, row.hash, row.time), row.note, row.verifier_key)
            for row in rows
        ]

    async def tombstones(self, chain: str) -> list[Signed]:
        """See StatementStore."""
        table: Table = audit_tombstones
        query = select(table).where(table.c.chain == chain).order_by(table.c.last_sequence)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [
            Signed(
                Statement(row.chain, row.last_sequence, row.last_hash, row.time, removed=True),
                row.note,
                row.verifier_key,
            )
            for row in rows
        ]

    async def remove(self, connection: AsyncConnection, tombstone: Signed) -> int:
        """See StatementStore."""
        said = tombstone.statement
        call = func.remove_audit_events(
            said.chain, said.sequence, said.hash, said.time, tombstone.note, tombstone.key
        )
        return int((await connection.execute(select(call))).scalar_one())

    async def erase(self, connection: AsyncConnection, actor: str, most: int) -> int:
        """See StatementStore."""
        return int((await connection.execute(select(func.erase_audit_actor(actor, most)))).scalar_one())
