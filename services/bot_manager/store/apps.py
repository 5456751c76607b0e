"""X developer apps on PostgreSQL. Implements `domain.apps.AppStore`.

A change may wait for the Vault. It holds a lock of its own meanwhile and the app's row only at the end, so publishing, which shares the
rows of apps, waits for nobody's Vault; a deletion locks the row at once, since no living bot may use the app then.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.clock import Clock
from mesh.database import Database
from mesh.errors import FailedPrecondition, NotFound
from services.bot_manager.domain.happenings import app_changed
from services.bot_manager.domain.listing import Page, Position, Query
from services.bot_manager.domain.model import BotState
from services.bot_manager.domain.money import App, AppState, AppStatus
from services.bot_manager.events.announcing import announce
from services.bot_manager.store.listing import page_of
from services.bot_manager.store.money import to_breaker
from services.bot_manager.store.ports import RequestKey
from services.bot_manager.store.requests import first_result, recall
from services.bot_manager.store.rows import app_values, to_app
from services.bot_manager.store.tables import bots
from services.bot_manager.store.tables.money import apps, breakers, rate_limits

_COLUMNS: Final[Mapping[str, ColumnElement[Any]]] = {
    name: apps.c[name] for name in ("display_name", "create_time")
}
_ONE_CHANGE: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('app ' || :id, 0))")


class PostgresApps:
    """The apps of one database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, app: App, key: RequestKey | None) -> AppStatus:
        """See the port."""
        async with self._database.transaction() as connection:
            first = await first_result(connection, key, app.id, app.create_time) if key else None
            if first is not None:
                return await _get(connection, first)
            await connection.execute(insert(apps), [app_values(app)])
            await announce(connection, app.create_time, app_changed(app.id, f"{_name(app)} was made"))
            return AppStatus(app)

    async def recall(self, key: RequestKey) -> AppStatus | None:
        """See the port."""
        async with self._database.read() as connection:
            first = await recall(connection, key, self._clock.now())
            return None if first is None else await _get(connection, first)

    async def get(self, app_id: str) -> AppStatus:
        """See the port."""
        async with self._database.read() as connection:
            return await _get(connection, app_id)

    async def list(self, query: Query) -> Page[AppStatus]:
        """See the port."""
        statement = page_of(select(apps), query, _COLUMNS[query.order], apps.c.id)
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).all()
            found = await _with_status(connection, rows[: query.limit])
        if len(rows) <= query.limit:
            return Page(found, None)
        last = found[-1].app
        return Page(found, Position(getattr(last, query.order), last.id))

    async def change(self, app_id: str, edit: Callable[[App], Awaitable[App]]) -> AppStatus:
        """See the port."""
        async with self._database.transaction() as connection:
            await connection.execute(_ONE_CHANGE, {"id": app_id})
            status = await _get(connection, app_id)
            edited = await edit(status.app)
            if edited is not status.app:
                await connection.execute(update(apps).where(apps.c.id == app_id).values(app_values(edited)))
                await announce(connection, edited.update_time, app_changed(app_id, _told(status.app, edited)))
            return AppStatus(edited, status.bot_count, status.breaker)

    async def delete(self, app_id: str, end: Callable[[App], Awaitable[None]]) -> None:
        """See the port."""
        async with self._database.transaction() as connection:
            await connection.execute(_ONE_CHANGE, {"id": app_id})
            locked = select(apps.c.id).where(apps.c.id == app_id).with_for_update()
            await connection.execute(locked)
            status = await _get(connection, app_id)
            if status.bot_count:
                raise FailedPrecondition(
                    "APP_IN_USE",
                    f"{status.bot_count} bots that are not archived use the app",
                    metadata={"bots": str(status.bot_count)},
                )
            await end(status.app)
            await connection.execute(delete(apps).where(apps.c.id == app_id))
            await connection.execute(delete(breakers).where(breakers.c.owner_id == app_id))
            await connection.execute(delete(rate_limits).where(rate_limits.c.owner_id == app_id))
            told = app_changed(app_id, f"{_name(status.app)} was deleted")
            await announce(connection, self._clock.now(), told)

    async def client_of(self, app_id: str) -> str:
        """The app's OAuth 2.0 client id; empty if it has none. Raises NotFound (APP_NOT_FOUND)."""
        return (await self.get(app_id)).app.client_id

    async def app_of(self, client_id: str) -> str:
        """The app with this client id, the oldest if several have it; empty if none has."""
        query = select(apps.c.id).where(apps.c.client_id == client_id).order_by(apps.c.id).limit(1)
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar_one_or_none() or "" if client_id else ""


def _told(before: App, after: App) -> str:
    """What an update came to, in a sentence."""
    if before.state is after.state:
        return f"{_name(after)} was changed"
    return f"{_name(after)} {'was paused' if after.state is AppState.PAUSED else 'goes on'}"


def _name(app: App) -> str:
    return f"the app {app.display_name or app.id}"


async def _get(connection: AsyncConnection, app_id: str) -> AppStatus:
    rows = (await connection.execute(select(apps).where(apps.c.id == app_id))).all()
    if not rows:
        raise NotFound("APP_NOT_FOUND", "no such app", metadata={"appId": app_id})
    return (await _with_status(connection, rows))[0]


async def _with_status(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[AppStatus]:
    ids = [row.id for row in rows]
    counts = await _bot_counts(connection, ids)
    query = select(breakers).where(breakers.c.owner_id.in_(ids))
    stopped = {row.owner_id: to_breaker(row) for row in await connection.execute(query)}
    return [AppStatus(to_app(row), counts.get(row.id, 0), stopped.get(row.id)) for row in rows]


async def _bot_counts(connection: AsyncConnection, ids: Collection[str]) -> dict[str, int]:
    query = (
        select(bots.c.app_id, func.count())
        .where(bots.c.app_id.in_(ids), bots.c.state != BotState.ARCHIVED.value)
        .group_by(bots.c.app_id)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(query)}
