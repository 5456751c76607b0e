"""The callers' side of posts on PostgreSQL. Implements `ports.PostStore`; the publisher's side is in `store/ledger.py`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import FailedPrecondition, NotFound
from services.bot_manager.domain.happenings import post_deleted
from services.bot_manager.domain.listing import Condition, Operator, Page, Position, Query
from services.bot_manager.domain.model import Change, Entry, Post, StoredEntry
from services.bot_manager.domain.slots import MARGIN, Taken
from services.bot_manager.events.announcing import announce
from services.bot_manager.store.listing import compare, page_of
from services.bot_manager.store.locking import lock
from services.bot_manager.store.ports import RequestKey, SlotTaken
from services.bot_manager.store.requests import first_result, recall
from services.bot_manager.store.rows import to_entry
from services.bot_manager.store.slots import read_taken
from services.bot_manager.store.tables import post_events, post_parts, posts
from services.bot_manager.store.writing import Step, insert_post, read_posts, unless_taken, with_parts, write

_COLUMNS: Final[Mapping[str, ColumnElement[Any]]] = {
    name: posts.c[name]
    for name in (
        "bot_id",
        "state",
        "schedule_id",
        "queue",
        "origin",
        "creator",
        "scheduled_time",
        "publish_time",
        "create_time",
    )
}


class PostgresPosts:
    """`instance` names this process in the stories it writes."""

    def __init__(self, database: Database, instance: str) -> None:
        self._database = database
        self._instance = instance

    async def create(
        self,
        post: Post,
        entries: Sequence[Entry],
        key: RequestKey | None,
        fits: Callable[[Sequence[Taken]], bool] | None = None,
    ) -> Post:
        """See the port."""
        async with self._database.transaction() as connection:
            first = await first_result(connection, key, post.id, post.create_time) if key else None
            if first is not None:
                return await _get(connection, first)
            if fits is not None:
                await lock(connection, f"slots of {post.bot_id}")
                if not fits(await read_taken(connection, post.bot_id, post.create_time - MARGIN)):
                    raise SlotTaken
            return await insert_post(connection, post, entries, post.create_time, self._instance)

    async def taken(self, bot_id: str, since: datetime) -> list[Taken]:
        """See the port."""
        async with self._database.read() as connection:
            return await read_taken(connection, bot_id, since)

    async def recall(self, key: RequestKey, now: datetime) -> Post | None:
        """See the port."""
        async with self._database.read() as connection:
            first = await recall(connection, key, now)
            return None if first is None else await _get(connection, first)

    async def get(self, post_id: str) -> Post:
        """See the port."""
        async with self._database.read() as connection:
            return await _get(connection, post_id)

    async def list(self, query: Query) -> Page[Post]:
        """See the port."""
        conditions = [_condition(condition) for condition in query.conditions]
        column = _COLUMNS[query.order]
        statement = page_of(select(posts).where(*conditions), query, column, posts.c.id)
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).all()
            found = await with_parts(connection, rows[: query.limit])
        if len(rows) <= query.limit:
            return Page(found, None)
        return Page(found, Position(getattr(found[-1], query.order), found[-1].id))

    async def change(
        self, post_id: str, edit: Callable[[Post], Change], now: datetime, key: RequestKey | None = None
    ) -> Post:
        """See the port."""
        async with self._database.transaction() as connection:
            post = await _get(connection, post_id, lock=True)
            if key is not None and await first_result(connection, key, post_id, now) is not None:
                return post
            steps = [Step(post, edit(post))]
            taken = FailedPrecondition(
                "INVALID_STATE", "the post on X belongs to another part here", field="x_post_id"
            )
            with unless_taken(taken):
                return (await write(connection, steps, now, self._instance, content=True))[0]

    async def delete(self, post_id: str, check: Callable[[Post], None], now: datetime) -> None:
        """See the port."""
        async with self._database.transaction() as connection:
            post = await _get(connection, post_id, lock=True)
            check(post)
            await connection.execute(delete(posts).where(posts.c.id == post_id))
            await announce(connection, now, post_deleted(post.bot_id, post_id))

    async def story(self, post_id: str, after: int, limit: int) -> Sequence[StoredEntry]:
        """See the port."""
        query = (
            select(post_events)
            .where(post_events.c.post_id == post_id, post_events.c.sequence > after)
            .order_by(post_events.c.sequence)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [to_entry(row) for row in await connection.execute(query)]


async def _get(connection: AsyncConnection, post_id: str, *, lock: bool = False) -> Post:
    found = await read_posts(connection, [post_id], lock=lock)
    if post_id not in found:
        raise NotFound("POST_NOT_FOUND", "no such post", metadata={"postId": post_id})
    return found[post_id]


def _condition(condition: Condition) -> ColumnElement[bool]:
    if condition.field == "text":
        holds = post_parts.c.text.icontains(str(condition.value), autoescape=True)
        if condition.operator is not Operator.CONTAINS:
            holds = compare(post_parts.c.text, condition)
        return exists().where(post_parts.c.post_id == posts.c.id, holds)
    return compare(_COLUMNS[condition.field], condition)
