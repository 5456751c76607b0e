"""Bots on PostgreSQL. Implements `ports.BotStore`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import psycopg.errors
from sqlalchemy import ColumnElement, delete, exc, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import AlreadyExists, FailedPrecondition, NotFound
from services.bot_manager.domain.happenings import bot_changed, bot_created, bot_deleted
from services.bot_manager.domain.lifecycle import BOT_TABLE, UNSETTLED, BotEvent
from services.bot_manager.domain.listing import Condition, Operator, Page, Position, Query
from services.bot_manager.domain.model import (
    ACTOR,
    Bot,
    BotState,
    CredentialsStatus,
    Post,
    PostState,
    StateDetail,
)
from services.bot_manager.domain.rules import cancel
from services.bot_manager.events.announcing import announce
from services.bot_manager.store.lease_endings import demand
from services.bot_manager.store.listing import compare, page_of
from services.bot_manager.store.ports import RequestKey
from services.bot_manager.store.requests import first_result
from services.bot_manager.store.rows import bot_values, to_bot
from services.bot_manager.store.secret_destructions import demand as destruct
from services.bot_manager.store.tables import bots, posts
from services.bot_manager.store.writing import Step, read_posts, write

HANDLE_INDEX: Final = "bots_handle"
ACCOUNT_INDEX: Final = "bots_account"
APP_KEY: Final = "bots_app"
_COLUMNS: Final[Mapping[str, ColumnElement[Any]]] = {
    "handle": bots.c.handle_key,
    **{
        name: bots.c[name]
        for name in ("state", "app_id", "display_name", "x_user_id", "create_time", "update_time")
    },
}
_WAITING: Final = (PostState.PENDING_APPROVAL, PostState.SCHEDULED)


class PostgresBots:
    """`instance` names this process in the stories of posts that archiving a bot calls off."""

    def __init__(self, database: Database, instance: str) -> None:
        self._database = database
        self._instance = instance

    async def create(self, bot: Bot, key: RequestKey | None) -> Bot:
        """See the port."""
        async with self._database.transaction() as connection:
            first = await first_result(connection, key, bot.id, bot.create_time) if key else None
            if first is not None:
                return await _get(connection, first)
            with _alone():
                await connection.execute(insert(bots), [bot_values(bot)])
            await announce(connection, bot.create_time, bot_created(bot))
            return bot

    async def get(self, bot_id: str) -> Bot:
        """See the port."""
        async with self._database.read() as connection:
            return await _get(connection, bot_id)

    async def list(self, query: Query) -> Page[Bot]:
        """See the port."""
        conditions = [_condition(condition) for condition in query.conditions]
        statement = page_of(select(bots).where(*conditions), query, _COLUMNS[query.order], bots.c.id)
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).all()
        found = [to_bot(row) for row in rows[: query.limit]]
        if len(rows) <= query.limit:
            return Page(found, None)
        last = found[-1]
        value = last.handle.casefold() if query.order == "handle" else getattr(last, query.order)
        return Page(found, Position(value, last.id))

    async def change(
        self,
        bot_id: str,
        edit: Callable[[Bot], Bot],
        now: datetime,
        *,
        settled: bool = False,
        concludes: bool = True,
    ) -> Bot:
        """See the port."""
        async with self._database.transaction(concludes=concludes) as connection:
            # Posts before their bot: the order in which the publisher locks them.
            waiting = await _settled_posts(connection, bot_id) if settled else {}
            bot = await _get(connection, bot_id, lock=True)
            edited = edit(bot)
            if edited is bot:
                return bot
            steps = [
                Step(post, cancel(post, edited.state_detail.actor, "the bot was archived"))
                for post in waiting.values()
            ]
            await write(connection, steps, now, self._instance)
            await demand(connection, bot, edited)
            if edited.state is not bot.state and edited.state is BotState.ARCHIVED:
                await destruct(connection, edited)
            await announce(connection, now, *bot_changed(bot, edited))
            return await _put(connection, replace(edited, version=bot.version + 1, update_time=now))

    async def holder_of(self, x_user_id: str) -> str:
        """See the port."""
        query = select(bots.c.id).where(
            bots.c.x_user_id == x_user_id, bots.c.state != BotState.ARCHIVED.value
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar_one_or_none() or ""

    async def delete(self, bot_id: str, now: datetime) -> None:
        """See the port."""
        async with self._database.transaction() as connection:
            bot = await _get(connection, bot_id, lock=True)
            if bot.state is not BotState.ARCHIVED:
                raise FailedPrecondition("INVALID_STATE", "the bot is not archived")
            await _check_settled(connection, bot_id)
            await destruct(connection, bot)
            await connection.execute(delete(bots).where(bots.c.id == bot_id))
            await announce(connection, now, bot_deleted(bot))

    async def apply(self, bot_id: str, event: BotEvent, now: datetime, reason: str, message: str) -> Bot:
        """See the port."""

        def edit(bot: Bot) -> Bot:
            credentials = bot.credentials
            if event is BotEvent.REFUSE_CREDENTIALS and credentials is not None and credentials.verified:
                credentials = replace(credentials, verified=False, verify_time=now, failure_reason=reason)
            state = BOT_TABLE[event].get(bot.state, bot.state)
            if state is bot.state:
                return bot if credentials is bot.credentials else replace(bot, credentials=credentials)
            detail = StateDetail(reason, message, ACTOR, now)
            return replace(bot, state=state, state_detail=detail, credentials=credentials)

        return await self.change(bot_id, edit, now, concludes=False)

    async def note_credentials(self, bot_id: str, status: CredentialsStatus, now: datetime) -> None:
        """See the port."""
        await self.change(bot_id, lambda bot: replace(bot, credentials=status), now, concludes=False)


async def _get(connection: AsyncConnection, bot_id: str, *, lock: bool = False) -> Bot:
    query = select(bots).where(bots.c.id == bot_id)
    # NO KEY: new posts refer to the bot meanwhile and need not wait.
    row = (await connection.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    if row is None:
        raise NotFound("BOT_NOT_FOUND", "no such bot", metadata={"botId": bot_id})
    return to_bot(row)


async def _put(connection: AsyncConnection, bot: Bot) -> Bot:
    with _alone():
        await connection.execute(update(bots).where(bots.c.id == bot.id).values(bot_values(bot)))
    return bot


async def _settled_posts(connection: AsyncConnection, bot_id: str) -> dict[str, Post]:
    """Posts of the bot that wait for their time, locked. Raises FailedPrecondition while X may be hearing of one."""
    query = select(posts.c.id).where(
        posts.c.bot_id == bot_id, posts.c.state.in_([state.value for state in _WAITING])
    )
    ids = (await connection.execute(query)).scalars().all()
    waiting = await read_posts(connection, ids, lock=True)
    await _check_settled(connection, bot_id)
    return {key: post for key, post in waiting.items() if post.state in _WAITING}


async def _check_settled(connection: AsyncConnection, bot_id: str) -> None:
    """Raises FailedPrecondition (INVALID_STATE) while X may be hearing of a post of the bot."""
    unsettled = select(func.count()).where(
        posts.c.bot_id == bot_id, posts.c.state.in_([state.value for state in UNSETTLED])
    )
    count = (await connection.execute(unsettled)).scalar_one()
    if count:
        raise FailedPrecondition(
            "INVALID_STATE",
            f"{count} of its posts are being published or of unknown outcome; settle them first",
            metadata={"posts": str(count)},
        )


@contextmanager
def _alone() -> Iterator[None]:
    """Raises AlreadyExists (HANDLE_TAKEN, X_ACCOUNT_TAKEN) or NotFound (APP_NOT_FOUND) where an index or the key of apps refuses the write."""
    try:
        yield
    except exc.IntegrityError as error:
        cause = error.orig
        index = cause.diag.constraint_name if isinstance(cause, psycopg.errors.UniqueViolation) else None
        if index == ACCOUNT_INDEX:
            raise AlreadyExists("X_ACCOUNT_TAKEN", "another bot manages the account") from None
        if index == HANDLE_INDEX:
            raise AlreadyExists(
                "HANDLE_TAKEN", "another bot that is not archived has this handle", field="bot.handle"
            ) from None
        if isinstance(cause, psycopg.errors.ForeignKeyViolation) and cause.diag.constraint_name == APP_KEY:
            raise NotFound("APP_NOT_FOUND", "no such app", field="bot.app_id") from None
        raise


def _condition(condition: Condition) -> ColumnElement[bool]:
    if condition.field == "labels":
        label: ColumnElement[Any] = bots.c.labels[condition.key].astext
        if condition.operator is Operator.CONTAINS:
            return label.icontains(str(condition.value), autoescape=True)
        return compare(label, condition)
    column = _COLUMNS[condition.field]
    if condition.operator is Operator.CONTAINS:
        return column.icontains(str(condition.value), autoescape=True)
    if condition.field == "handle":
        condition = replace(condition, value=str(condition.value).casefold())
    return compare(column, condition)
