"""The append-only log of revisions, and the row that numbers them.

`append` is the only writer of all tables of the history: it takes the next number from `config_head`, writes the revision with one row
per change, and carries each change into the table of its present state, in one transaction. The head row stays locked until that
commits, so revisions become visible in their order and without gaps.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Row, func, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from services.configuration.domain.changes import (
    Author,
    BindingChange,
    Cause,
    Change,
    DefinitionChange,
    Head,
    RoleChange,
    SettingChange,
    StagingChange,
    Transaction,
    stamped,
)
from services.configuration.domain.values import Stored
from services.configuration.store.documents import (
    Kind,
    decode,
    encode,
    staged_document,
    stored_document,
    stored_from,
)
from services.configuration.store.roles import RolesTable
from services.configuration.store.settings import SettingsTable
from services.configuration.store.tables import changes, config_head, revisions

_HEAD = select(
    config_head.c.revision,
    config_head.c.history_id,
    config_head.c.oldest_revision,
    config_head.c.commit_time,
    # When the statement came in, which is before it looked: whatever was committed by then is in its answer.
    func.statement_timestamp(),
    config_head.c.built_in_release,
)
_LOGGED = (
    revisions.c.revision,
    revisions.c.actor,
    revisions.c.comment,
    revisions.c.approver,
    revisions.c.create_time,
    changes.c.kind,
    changes.c.subject,
    changes.c.cause,
    changes.c.old,
    changes.c.new,
    changes.c.effective,
)


class LogTable:
    """Implements `ports.Log` on one connection, and `append` for the writer."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def head(self) -> Head:
        """See the port."""
        return Head(*(await self._connection.execute(_HEAD)).one())

    async def locked_head(self) -> Head:
        """The head, nobody else being able to write until this transaction ends."""
        return Head(*(await self._connection.execute(_HEAD.with_for_update())).one())

    async def transactions(self, after: int, upto: int, limit: int) -> Sequence[Transaction]:
        """See the port."""
        # Numbers have no gaps, so a range of numbers is a number of transactions.
        last = min(upto, after + limit)
        rows = await self._logged(changes.c.revision > after, changes.c.revision <= last)
        return [
            _transaction(group[0], map(_change, group))
            for group in (list(rows) for _, rows in groupby(rows, key=lambda row: row[0]))
        ]

    async def setting_at(self, key: str, revision: int) -> Stored | None:
        """See the port."""
        query = (
            select(changes.c.new)
            .where(changes.c.kind == Kind.SETTING, changes.c.subject == key, changes.c.revision <= revision)
            .order_by(changes.c.revision.desc())
            .limit(1)
        )
        return stored_from((await self._connection.execute(query)).scalar_one_or_none())

    async def settings_at(self, revision: int) -> dict[str, Stored]:
        """See the port. The newest entry of each key up to the revision; nothing is replayed."""
        query = (
            select(changes.c.subject, changes.c.new)
            .where(changes.c.kind == Kind.SETTING, changes.c.revision <= revision)
            .ext(distinct_on(changes.c.subject))
            .order_by(changes.c.subject, changes.c.revision.desc())
        )
        found = ((key, stored_from(new)) for key, new in await self._connection.execute(query))
        return {key: stored for key, stored in found if stored is not None}

    async def setting_history(
        self, key: str, before: tuple[int, str] | None, limit: int
    ) -> Sequence[tuple[Transaction, SettingChange]]:
        """See the port."""
        conditions: list[ColumnElement[bool]] = [changes.c.kind == Kind.SETTING]
        if key:
            conditions.append(changes.c.subject == key)
        if before is not None:
            conditions.append(tuple_(changes.c.revision, changes.c.subject) < tuple_(*before))
        rows = await self._logged(*conditions, newest_first=True, limit=limit)
        found = ((_transaction(row, ()), _change(row)) for row in rows)
        return [(transaction, change) for transaction, change in found if isinstance(change, SettingChange)]

    async def append(self, new_changes: Sequence[Change], author: Author) -> Transaction:
        """The next revision. The head must be locked."""
        revision, now = await self._next_number()
        made = tuple(stamped(change, revision, now) for change in new_changes)
        await self._connection.execute(
            insert(revisions).values(
                revision=revision,
                actor=author.actor,
                approver=author.approver,
                comment=author.comment,
                create_time=now,
            )
        )
        await self._connection.execute(
            insert(changes), [{"revision": revision, **encode(change)} for change in made]
        )
        for change in made:
            await self._carry_out(change, revision, author.actor, now)
        return Transaction(revision, author, now, made)

    async def note_built_in_release(self, release: str) -> None:
        """See `ports.Writer`."""
        await self._connection.execute(update(config_head).values(built_in_release=release))

    async def _next_number(self) -> tuple[int, datetime]:
        now = func.greatest(config_head.c.commit_time, func.clock_timestamp())
        statement = (
            update(config_head)
            .values(revision=config_head.c.revision + 1, commit_time=now)
            .returning(config_head.c.revision, config_head.c.commit_time)
        )
        revision, commit_time = (await self._connection.execute(statement)).one()
        return revision, commit_time

    async def _carry_out(self, change: Change, revision: int, actor: str, now: datetime) -> None:
        settings, roles = SettingsTable(self._connection), RolesTable(self._connection)
        match change:
            case SettingChange(cause=Cause.ROLLOUT_REVERTED):
                pass  # the value is what it was
            case StagingChange():
                await settings.put_staged(change.key, staged_document(change.new))
            case SettingChange():
                value = stored_document(change.new)
                columns = {"value": value, "revision": revision, "actor": actor, "update_time": now}
                await settings.put_value(change.key, columns)
            case DefinitionChange():
                await settings.put_definition(change.new)
            case RoleChange(new=None):
                await roles.drop_role(change.role_id)
            case RoleChange(new=role) if role is not None:
                await roles.put_role(role)
            case BindingChange(new=None):
                await roles.drop_binding(change.binding_id)
            case BindingChange(new=binding) if binding is not None:
                await roles.put_binding(binding)

    async def _logged(
        self, *conditions: ColumnElement[bool], newest_first: bool = False, limit: int | None = None
    ) -> Sequence[Row[*tuple[Any, ...]]]:
        order = [changes.c.revision, changes.c.kind, changes.c.subject]
        query = (
            select(*_LOGGED)
            .join_from(changes, revisions, changes.c.revision == revisions.c.revision)
            .where(*conditions)
            .order_by(*(column.desc() if newest_first else column for column in order))
            .limit(limit)
        )
        return (await self._connection.execute(query)).all()


def _transaction(row: Row[*tuple[Any, ...]], made: Iterable[Change]) -> Transaction:
    revision, actor, comment, approver, create_time = row[:5]
    return Transaction(revision, Author(actor, comment, approver), create_time, tuple(made))


def _change(row: Row[*tuple[Any, ...]]) -> Change:
    return decode(*row[5:])
