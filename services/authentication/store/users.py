"""Accounts in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, exists, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.authentication.domain.filters import Comparison, Condition
from services.authentication.domain.user import ADMIN_ROLE, Credentials, User, UserState
from services.authentication.store.tables import second_factors, users

_TOTP_ENROLLED = (
    exists(select(second_factors.c.user_id))
    .where(second_factors.c.user_id == users.c.id, second_factors.c.confirm_time.is_not(None))
    .correlate(users)
    .label("totp_enrolled")
)
_PASSWORD = [users.c.password_hash, users.c.password_version, users.c.password_expire_time]
_SHOWN = [*(column for column in users.c if column not in set(_PASSWORD)), _TOTP_ENROLLED]
_CREDENTIALS = [*_SHOWN, *_PASSWORD]


class PostgresUsers:
    """Implements `ports.UserStore` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def any(self) -> bool:
        return bool((await self._connection.execute(select(exists(select(users.c.id))))).scalar_one())

    async def get(self, user_id: str, *, lock: bool = False, hold: bool = False) -> User | None:
        query = select(*_SHOWN).where(users.c.id == user_id)
        if lock or hold:
            query = query.with_for_update(read=hold and not lock)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _user(row)

    async def credentials_by_name(self, username: str) -> Credentials | None:
        return await self._credentials(users.c.username == username)

    async def credentials(self, user_id: str) -> Credentials | None:
        return await self._credentials(users.c.id == user_id)

    async def _credentials(self, condition: ColumnElement[bool]) -> Credentials | None:
        row = (await self._connection.execute(select(*_CREDENTIALS).where(condition))).one_or_none()
        if row is None:
            return None
        return Credentials(_user(row), row.password_hash, row.password_version, row.password_expire_time)

    async def list(self, conditions: Sequence[Condition], before_id: str | None, limit: int) -> list[User]:
        query = select(*_SHOWN).where(*(_clause(condition) for condition in conditions))
        if before_id is not None:
            query = query.where(users.c.id < before_id)
        rows = await self._connection.execute(query.order_by(users.c.id.desc()).limit(limit))
        return [_user(row) for row in rows]

    async def insert(self, user: User, password_hash: str) -> bool:
        statement = (
            insert(users)
            .values(
                id=user.id, create_time=user.create_time, password_hash=password_hash, **_changeable(user)
            )
            .values(username=user.username, password_change_required=user.password_change_required)
            .on_conflict_do_nothing()
            .returning(users.c.id)
        )
        return (await self._connection.execute(statement)).one_or_none() is not None

    async def update(self, user: User) -> None:
        await self._connection.execute(update(users).where(users.c.id == user.id).values(**_changeable(user)))

    async def delete(self, user_id: str) -> None:
        await self._connection.execute(delete(users).where(users.c.id == user_id))

    async def record_sign_in(
        self, user_id: str, password_version: int, now: datetime, new_hash: str | None
    ) -> User | None:
        values: dict[str, Any] = {"last_sign_in_time": now}
        if new_hash is not None:
            values["password_hash"] = new_hash
        return await self._if_unchanged(user_id, password_version, values)

    async def set_password(
        self, user_id: str, password_version: int, password_hash: str, now: datetime
    ) -> User | None:
        values = {
            "password_hash": password_hash,
            "password_version": users.c.password_version + 1,
            "password_change_required": False,
            "password_expire_time": None,
            "version": users.c.version + 1,
            "update_time": now,
        }
        return await self._if_unchanged(user_id, password_version, values)

    async def reset_password(self, user_id: str, password_hash: str, expire: datetime, now: datetime) -> None:
        values = {
            "password_hash": password_hash,
            "password_version": users.c.password_version + 1,
            "password_change_required": True,
            "password_expire_time": expire,
            "version": users.c.version + 1,
            "update_time": now,
        }
        await self._connection.execute(update(users).where(users.c.id == user_id).values(values))

    async def revoke_tokens(self, user_ids: Sequence[str], now: datetime) -> None:
        these = users.c.id.in_(user_ids)
        await self._connection.execute(select(users.c.id).where(these).order_by(users.c.id).with_for_update())
        await self._connection.execute(update(users).where(these).values(tokens_revoke_time=now))

    async def _if_unchanged(self, user_id: str, password_version: int, values: dict[str, Any]) -> User | None:
        """Write to the user if still active and still with this password; also locks the row against both changing."""
        statement = (
            update(users)
            .where(
                users.c.id == user_id,
                users.c.password_version == password_version,
                users.c.state == UserState.ACTIVE.value,
            )
            .values(**values)
            .returning(*_SHOWN)
        )
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else _user(row)

    async def other_active_admin(self, user_id: str) -> bool:
        query = select(users.c.id).where(
            users.c.id != user_id,
            users.c.state == UserState.ACTIVE.value,
            users.c.roles.contains([ADMIN_ROLE]),
        )
        return bool((await self._connection.execute(select(exists(query)))).scalar_one())


def _changeable(user: User) -> dict[str, Any]:
    return {
        "display_name": user.display_name,
        "email": user.email,
        "roles": list(user.roles),
        "state": user.state.value,
        "version": user.version,
        "update_time": user.update_time,
    }


def _clause(condition: Condition) -> ColumnElement[bool]:
    column: Any = users.c[condition.field]
    match condition.comparison:
        case Comparison.EQUALS:
            clause = column == condition.value
        case Comparison.STARTS_WITH:
            clause = column.startswith(condition.value, autoescape=True)
        case Comparison.HOLDS:
            clause = column.contains([condition.value])
    return clause  # type: ignore[no-any-return]  # `column` is of a type known at run time only


def _user(row: Row[Any]) -> User:
    return User(
        id=row.id,
        username=row.username,
        display_name=row.display_name,
        email=row.email,
        roles=tuple(row.roles),
        state=UserState(row.state),
        password_change_required=row.password_change_required,
        version=row.version,
        create_time=row.create_time,
        update_time=row.update_time,
        last_sign_in_time=row.last_sign_in_time,
        tokens_revoke_time=row.tokens_revoke_time,
        totp_enrolled=row.totp_enrolled,
    )
