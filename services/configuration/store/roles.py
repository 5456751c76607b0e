"""Roles and bindings in PostgreSQL. Knows no rule."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.configuration.domain.role import Role, RoleBinding
from services.configuration.store.tables import role_bindings, roles


class RolesTable:
    """Implements `ports.Roles` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, role_id: str) -> Role | None:
        """See the port."""
        row = (await self._connection.execute(select(roles).where(roles.c.id == role_id))).one_or_none()
        return None if row is None else _role(row)

    async def page(self, after: str, limit: int) -> Sequence[Role]:
        """See the port."""
        query = select(roles).where(roles.c.id > after).order_by(roles.c.id).limit(limit)
        return [_role(row) for row in await self._connection.execute(query)]

    async def all(self) -> Sequence[Role]:
        """See the port."""
        return [_role(row) for row in await self._connection.execute(select(roles).order_by(roles.c.id))]

    async def binding(self, binding_id: str) -> RoleBinding | None:
        """See the port."""
        query = select(role_bindings).where(role_bindings.c.id == binding_id)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _binding(row)

    async def bindings(
        self,
        *,
        subject: str = "",
        role_id: str = "",
        bot_id: str = "",
        before: str = "",
        limit: int | None = None,
    ) -> Sequence[RoleBinding]:
        """See the port."""
        query = select(role_bindings).order_by(role_bindings.c.id.desc())
        columns = role_bindings.c
        for column, wanted in (
            (columns.subject, subject),
            (columns.role_id, role_id),
            (columns.bot_id, bot_id),
        ):
            if wanted:
                query = query.where(column == wanted)
        if before:
            query = query.where(columns.id < before)
        if limit is not None:
            query = query.limit(limit)
        return [_binding(row) for row in await self._connection.execute(query)]

    async def put_role(self, role: Role) -> None:
        """Make or replace a role."""
        values = asdict(role) | {"permissions": list(role.permissions)}
        statement = insert(roles).values(**values)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))

    async def drop_role(self, role_id: str) -> None:
        """Remove a role."""
        await self._connection.execute(delete(roles).where(roles.c.id == role_id))

    async def put_binding(self, binding: RoleBinding) -> None:
        """Make a binding."""
        await self._connection.execute(insert(role_bindings).values(**asdict(binding)))

    async def drop_binding(self, binding_id: str) -> None:
        """Remove a binding."""
        await self._connection.execute(delete(role_bindings).where(role_bindings.c.id == binding_id))


def _role(row: Row[*tuple[Any, ...]]) -> Role:
    values = row._asdict()
    return Role(**values | {"permissions": tuple(values["permissions"])})


def _binding(row: Row[*tuple[Any, ...]]) -> RoleBinding:
    return RoleBinding(**row._asdict())
