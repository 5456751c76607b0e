"""Sessions and refresh tokens in PostgreSQL.

The rotation is one statement that goes through the session's row: whoever comes second, be it another refresh or the end of the
session, waits there and then finds the token used or the session ended. So nothing is ever given out after an end was committed.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.authentication.domain.session import EndReason, Session
from services.authentication.store.ports import KnownToken, Rotation
from services.authentication.store.tables import refresh_tokens, sessions

_ROTATE = text("""
WITH live AS (
  UPDATE sessions AS s
     SET last_use_time = :now,
         address = :address,
         idle_expire_time = LEAST(s.expire_time, :now + CAST(:idle AS interval))
    FROM refresh_tokens AS t, users AS u
   WHERE t.hash = :token AND t.use_time IS NULL
     AND s.id = t.session_id AND s.end_time IS NULL AND s.idle_expire_time > :now AND s.expire_time > :now
     AND u.id = s.user_id AND u.state = 'ACTIVE'
  RETURNING s.*
), used AS (
  UPDATE refresh_tokens AS t
     SET use_time = :now
    FROM live
   WHERE t.hash = :token AND t.use_time IS NULL AND t.session_id = live.id
  RETURNING t.session_id, t.generation
), next AS (
  INSERT INTO refresh_tokens (hash, session_id, generation, create_time)
  SELECT :successor, session_id, generation + 1, :now FROM used
  RETURNING session_id
)
SELECT live.* FROM live JOIN next ON next.session_id = live.id
""")


class PostgresSessions:
    """Implements `ports.SessionStore` on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, session: Session, token: bytes) -> None:
        await self._connection.execute(
            insert(sessions).values(
                id=session.id,
                user_id=session.user_id,
                user_agent=session.user_agent,
                address=session.address,
                create_time=session.create_time,
                last_use_time=session.last_use_time,
                idle_expire_time=session.idle_expire_time,
                expire_time=session.expire_time,
                authenticate_time=session.authenticate_time,
                second_factor_time=session.second_factor_time,
            )
        )
        await self._connection.execute(
            insert(refresh_tokens).values(
                hash=token, session_id=session.id, generation=1, create_time=session.create_time
            )
        )

    async def get(self, session_id: str, user_id: str) -> Session | None:
        query = select(sessions).where(sessions.c.id == session_id, sessions.c.user_id == user_id)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _session(row)

    async def list_living(
        self, user_id: str, now: datetime, before_id: str | None, limit: int
    ) -> list[Session]:
        query = select(sessions).where(sessions.c.user_id == user_id, _lives(now))
        if before_id is not None:
            query = query.where(sessions.c.id < before_id)
        rows = await self._connection.execute(query.order_by(sessions.c.id.desc()).limit(limit))
        return [_session(row) for row in rows]

    async def known_token(self, token: bytes) -> KnownToken | None:
        query = (
            select(refresh_tokens.c.session_id, sessions.c.user_id, refresh_tokens.c.generation)
            .join(sessions, sessions.c.id == refresh_tokens.c.session_id)
            .where(refresh_tokens.c.hash == token)
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else KnownToken(row.session_id, row.user_id, row.generation)

    async def rotate(self, rotation: Rotation, now: datetime) -> Session | None:
        parameters = {
            "token": rotation.token,
            "successor": rotation.successor,
            "address": rotation.address,
            "idle": rotation.idle,
            "now": now,
        }
        row = (await self._connection.execute(_ROTATE, parameters)).one_or_none()
        return None if row is None else _session(row)

    async def retried(self, token: bytes, successor: bytes, since: datetime, now: datetime) -> Session | None:
        following = refresh_tokens.alias("following")
        query = (
            select(sessions)
            .join(refresh_tokens, refresh_tokens.c.session_id == sessions.c.id)
            .join(following, following.c.session_id == sessions.c.id)
            .where(
                refresh_tokens.c.hash == token,
                refresh_tokens.c.use_time >= since,
                following.c.hash == successor,
                following.c.generation == refresh_tokens.c.generation + 1,
                following.c.use_time.is_(None),
                _lives(now),
            )
            .with_for_update(of=sessions)
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _session(row)

    async def end_reused(self, token: bytes, now: datetime) -> Session | None:
        statement = (
            update(sessions)
            .where(
                refresh_tokens.c.hash == token,
                refresh_tokens.c.use_time.is_not(None),
                sessions.c.id == refresh_tokens.c.session_id,
                sessions.c.end_time.is_(None),
            )
            .values(end_time=now, end_reason=EndReason.TOKEN_REUSED.value)
            .returning(sessions)
        )
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else _session(row)

    async def replace_token(self, session_id: str, token: bytes, now: datetime) -> Session | None:
        query = select(sessions).where(sessions.c.id == session_id, _lives(now)).with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            return None
        await self._connection.execute(
            update(refresh_tokens)
            .where(refresh_tokens.c.session_id == session_id, refresh_tokens.c.use_time.is_(None))
            .values(use_time=now)
        )
        await self._add_token(session_id, token, now)
        return _session(row)

    async def end(
        self,
        user_id: str,
        reason: EndReason,
        now: datetime,
        *,
        only: str | None = None,
        but: str | None = None,
    ) -> Sequence[str]:
        statement = update(sessions).where(sessions.c.user_id == user_id, sessions.c.end_time.is_(None))
        if only is not None:
            statement = statement.where(sessions.c.id == only)
        if but is not None:
            statement = statement.where(sessions.c.id != but)
        statement = statement.values(end_time=now, end_reason=reason.value)
        return list((await self._connection.execute(statement.returning(sessions.c.id))).scalars())

    async def lock(self, session_id: str, user_id: str, now: datetime) -> Session | None:
        query = select(sessions).where(
            sessions.c.id == session_id, sessions.c.user_id == user_id, _lives(now)
        )
        row = (await self._connection.execute(query.with_for_update())).one_or_none()
        return None if row is None else _session(row)

    async def note_proofs(self, session: Session) -> None:
        await self._connection.execute(
            update(sessions)
            .where(sessions.c.id == session.id)
            .values(
                authenticate_time=session.authenticate_time, second_factor_time=session.second_factor_time
            )
        )

    async def known(self, user_id: str, session_ids: Collection[str]) -> frozenset[str]:
        query = select(sessions.c.id).where(sessions.c.user_id == user_id, sessions.c.id.in_(session_ids))
        return frozenset((await self._connection.execute(query)).scalars())

    async def end_these(
        self, user_id: str, session_ids: Collection[str], reason: EndReason, now: datetime
    ) -> Sequence[str]:
        return await self._end(
            and_(sessions.c.user_id == user_id, sessions.c.id.in_(session_ids)), reason, now
        )

    async def end_all(self, user_ids: Collection[str], reason: EndReason, now: datetime) -> Sequence[str]:
        return await self._end(sessions.c.user_id.in_(user_ids), reason, now)

    async def end_oldest(self, user_id: str, keep: int, now: datetime) -> Sequence[str]:
        query = select(sessions.c.id).where(sessions.c.user_id == user_id, _lives(now))
        surplus = (
            (await self._connection.execute(query.order_by(sessions.c.id.desc()).offset(keep)))
            .scalars()
            .all()
        )
        return await self.end_these(user_id, surplus, EndReason.EVICTED, now) if surplus else ()

    async def users_with_living(self, now: datetime) -> Sequence[str]:
        query = select(sessions.c.user_id).where(_lives(now)).distinct()
        return list((await self._connection.execute(query)).scalars())

    async def _end(self, those: ColumnElement[bool], reason: EndReason, now: datetime) -> Sequence[str]:
        statement = update(sessions).where(those, _lives(now)).values(end_time=now, end_reason=reason.value)
        return list((await self._connection.execute(statement.returning(sessions.c.id))).scalars())

    async def _add_token(self, session_id: str, token: bytes, now: datetime) -> None:
        newest = select(func.coalesce(func.max(refresh_tokens.c.generation), 0)).where(
            refresh_tokens.c.session_id == session_id
        )
        await self._connection.execute(
            insert(refresh_tokens).values(
                hash=token, session_id=session_id, generation=newest.scalar_subquery() + 1, create_time=now
            )
        )


def _lives(now: datetime) -> ColumnElement[bool]:
    return and_(
        sessions.c.end_time.is_(None), sessions.c.idle_expire_time > now, sessions.c.expire_time > now
    )


def _session(row: Row[Any]) -> Session:
    return Session(
        id=str(row.id),
        user_id=str(row.user_id),
        user_agent=row.user_agent,
        address=row.address,
        create_time=row.create_time,
        last_use_time=row.last_use_time,
        idle_expire_time=row.idle_expire_time,
        expire_time=row.expire_time,
        authenticate_time=row.authenticate_time,
        end_time=row.end_time,
        second_factor_time=row.second_factor_time,
    )
