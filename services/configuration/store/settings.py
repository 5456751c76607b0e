"""Definitions and their values in PostgreSQL. Knows no rule."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.configuration.domain.definition import Definition
from services.configuration.domain.filter import SettingFilter
from services.configuration.domain.setting import Setting
from services.configuration.store.documents import (
    Document,
    definition_document,
    definition_from,
    staged_from,
    stored_from,
)
from services.configuration.store.tables import definitions, pending_settings, settings


class SettingsTable:
    """Implements `ports.Settings` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, key: str) -> Setting | None:
        """See the port."""
        row = (await self._connection.execute(_query().where(definitions.c.key == key))).one_or_none()
        return None if row is None else _setting(row)

    async def among(self, keys: Iterable[str]) -> dict[str, Setting]:
        """See the port."""
        rows = await self._connection.execute(_query().where(definitions.c.key.in_(list(keys))))
        return {setting.definition.key: setting for setting in map(_setting, rows)}

    async def page(self, after: str, limit: int, wanted: SettingFilter) -> Sequence[Setting]:
        """See the port."""
        query = _query().where(definitions.c.key > after, *_conditions(wanted))
        rows = await self._connection.execute(query.order_by(definitions.c.key).limit(limit))
        return [_setting(row) for row in rows]

    async def all(self) -> Sequence[Setting]:
        """See the port."""
        return [_setting(row) for row in await self._connection.execute(_query().order_by(definitions.c.key))]

    async def keys(self) -> Sequence[str]:
        """See the port."""
        return (await self._connection.execute(select(definitions.c.key))).scalars().all()

    async def note_release(self, definition: Definition) -> None:
        """See the port."""
        await self._connection.execute(
            update(definitions)
            .where(definitions.c.key == definition.key)
            .values(release=definition.release, document=definition_document(definition))
        )

    async def put_definition(self, definition: Definition) -> None:
        """Make `definition` the one in force."""
        columns: dict[str, Any] = {
            "owner": definition.owner,
            "release": definition.release,
            "document": definition_document(definition),
        }
        statement = insert(definitions).values(key=definition.key, **columns)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=columns))

    async def put_value(self, key: str, columns: dict[str, Any]) -> None:
        """Make `columns` (all of them but the key) what is stored for `key`."""
        statement = insert(settings).values(key=key, **columns)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=columns))

    async def put_staged(self, key: str, staged: Document | None) -> None:
        """Make `staged` what is staged for `key`, which a change holds."""
        await self._connection.execute(
            update(pending_settings).where(pending_settings.c.key == key).values(staged=staged)
        )


def _query() -> Select[*tuple[Any, ...]]:
    query = select(
        definitions.c.document,
        settings.c.value,
        settings.c.revision,
        settings.c.update_time,
        settings.c.actor,
        pending_settings.c.change_id,
        pending_settings.c.staged,
    )
    return query.join_from(definitions, settings, settings.c.key == definitions.c.key, isouter=True).join(
        pending_settings, pending_settings.c.key == definitions.c.key, isouter=True
    )


def _setting(row: Row[*tuple[Any, ...]]) -> Setting:
    document, value, revision, update_time, actor, change_id, staged = row
    return Setting(
        definition_from(document),
        stored_from(value),
        revision or 0,
        update_time,
        actor or "",
        change_id or "",
        staged_from(staged),
    )


def _conditions(wanted: SettingFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.key:
        conditions.append(definitions.c.key == wanted.key)
    if wanted.key_prefix:
        conditions.append(definitions.c.key.startswith(wanted.key_prefix, autoescape=True))
    if wanted.owner:
        conditions.append(definitions.c.owner == wanted.owner)
    if wanted.modified is not None:
        # A setting that was never changed has no row in `settings`, so its value is NULL as well.
        conditions.append(settings.c.value.is_not(None) if wanted.modified else settings.c.value.is_(None))
    return conditions
