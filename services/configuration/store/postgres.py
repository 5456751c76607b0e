"""The store on PostgreSQL. Implements `ports.Store`.

Reading takes one snapshot of the database (REPEATABLE READ), so that values, roles and revision number of an answer belong together.
Writing locks the head row first; writers queue there, and whoever has it sees everything that was committed before.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.audit import AuditEvent
from mesh.database import Database
from mesh.errors import Internal
from services.configuration.domain.changes import Author, Change, Head, SettingChange, Transaction
from services.configuration.domain.events import Event
from services.configuration.domain.pending import PendingChange
from services.configuration.domain.values import Json
from services.configuration.store.log import LogTable
from services.configuration.store.pending import PendingTable
from services.configuration.store.roles import RolesTable
from services.configuration.store.settings import SettingsTable
from services.configuration.store.tables import idempotency
from services.configuration.store.trail import Trail, events

ONE_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
REMEMBERED = text("interval '24 hours'")
"""How long a request id is recognised (contract of CreateRole)."""


class PostgresReader:
    """Implements `ports.Reader`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.settings = SettingsTable(connection)
        self.roles = RolesTable(connection)
        self.log = LogTable(connection)
        self.pending = PendingTable(connection)


class PostgresWriter(PostgresReader):
    """Implements `ports.Writer`."""

    def __init__(self, connection: AsyncConnection, head: Head, trail: Trail | None) -> None:
        super().__init__(connection)
        self.head = head
        self._trail = trail
        self._connection = connection

    async def append(self, changes: Sequence[Change], author: Author) -> Transaction:
        """See the port. What changed is put on the trail in the same transaction."""
        made = await self.log.append(changes, author)
        if self._trail is not None:
            keys = {change.subject for change in made.changes if isinstance(change, SettingChange)}
            known = await self.settings.among(keys) if keys else {}
            sensitive = frozenset(key for key, setting in known.items() if setting.definition.sensitive)
            for event in events(made, sensitive):
                await self._trail.note(self._connection, event)
        return made

    async def hold(self, change: PendingChange) -> None:
        """See the port."""
        await self.pending.hold(change)

    async def keep(self, change: PendingChange) -> None:
        """See the port."""
        await self.pending.put(change)

    async def note(self, event: Event) -> None:
        """See the port."""
        if self._trail is None:
            raise Internal("INTERNAL", "this is a bug: a store without a trail has something to put on it")
        await self._trail.note(
            self._connection, AuditEvent(event.action, event.resource, warning=event.warning)
        )

    async def note_built_in_release(self, release: str) -> None:
        """See the port."""
        await self.log.note_built_in_release(release)

    async def recall(self, request_id: str, method: str, actor: str) -> tuple[str, Json] | None:
        """See the port."""
        row = await self._connection.execute(
            select(idempotency.c.request_hash, idempotency.c.response).where(
                idempotency.c.request_id == request_id,
                idempotency.c.method == method,
                idempotency.c.actor == actor,
                idempotency.c.create_time > func.now() - REMEMBERED,
            )
        )
        found = row.one_or_none()
        return None if found is None else (found.request_hash, found.response)

    async def remember(
        self, request_id: str, method: str, actor: str, request_hash: str, response: Json
    ) -> None:
        """See the port. What is older than a day goes."""
        await self._connection.execute(
            delete(idempotency).where(idempotency.c.create_time <= func.now() - REMEMBERED)
        )
        values: dict[str, Any] = {"request_hash": request_hash, "response": response}
        await self._connection.execute(
            insert(idempotency).values(request_id=request_id, method=method, actor=actor, **values)
        )


class PostgresStore:
    """Implements `ports.Store`. Without an audit trail it refuses what belongs on one."""

    def __init__(self, database: Database, trail: Trail | None = None) -> None:
        self._database = database
        self._trail = trail

    @asynccontextmanager
    async def read(self) -> AsyncIterator[PostgresReader]:
        """See the port."""
        async with self._database.read() as connection:
            await connection.execute(ONE_SNAPSHOT)
            yield PostgresReader(connection)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[PostgresWriter]:
        """See the port."""
        async with self._database.transaction() as connection:
            head = await LogTable(connection).locked_head()
            yield PostgresWriter(connection, head, self._trail)

    async def head(self) -> Head:
        """See the port."""
        async with self._database.read() as connection:
            return await LogTable(connection).head()
