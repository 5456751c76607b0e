"""Reading posts under their lock and writing changes of them: the one way in which `posts`, parts and story are changed.

Every write raises the version and numbers its entries after those before, so a story has no gaps. All statements take many posts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any

import psycopg.errors
from sqlalchemy import Row, delete, exc, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.context import current_call
from mesh.errors import MeshError
from mesh.ids import new_id
from services.bot_manager.domain.cadence import first_read
from services.bot_manager.domain.model import Change, Entry, Part, Post
from services.bot_manager.store.bulk import insert_rows, one_of, update_rows
from services.bot_manager.store.rows import (
    content_values,
    ledger_values,
    part_values,
    post_values,
    to_part,
    to_post,
)
from services.bot_manager.store.settling import Step, settle_unknown
from services.bot_manager.store.similarity import forget, remember
from services.bot_manager.store.tables import post_events, post_parts, posts

__all__ = ["Step", "insert_post", "read_posts", "unless_taken", "with_parts", "write"]

X_POST_INDEX = "post_parts_x_post_id"


async def read_posts(
    connection: AsyncConnection, ids: Iterable[str], *, lock: bool = False
) -> dict[str, Post]:
    """Posts with their parts, by id. `lock` keeps other writers out until the transaction ends; always taken in the order of ids."""
    query = select(posts).where(one_of(posts.c.id, sorted(set(ids)))).order_by(posts.c.id)
    rows = (await connection.execute(query.with_for_update() if lock else query)).all()
    return {post.id: post for post in await with_parts(connection, rows)}


async def with_parts(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Post]:
    """Posts of rows of `posts`, in their order."""
    if not rows:
        return []
    query = (
        select(post_parts)
        .where(one_of(post_parts.c.post_id, [row.id for row in rows]))
        .order_by(post_parts.c.post_id, post_parts.c.index)
    )
    found = (await connection.execute(query)).all()
    parts: Mapping[str, list[Part]] = {
        post_id: [to_part(row) for row in group] for post_id, group in groupby(found, lambda row: row.post_id)
    }
    return [to_post(row, parts.get(row.id, ())) for row in rows]


async def insert_post(
    connection: AsyncConnection, post: Post, entries: Sequence[Entry], now: datetime, instance: str
) -> Post:
    """A new post with the beginning of its story."""
    return (await insert_posts(connection, [Change(post, tuple(entries))], now, instance))[0]


async def insert_posts(
    connection: AsyncConnection, made: Sequence[Change], now: datetime, instance: str
) -> list[Post]:
    """New posts, each with the beginning of its story and its fingerprints."""
    stored = [replace(change.post, entry_count=len(change.entries)) for change in made]
    await insert_rows(connection, posts, [post_values(post) for post in stored])
    parts = [part_values(post.id, part) for post in stored for part in post.parts]
    await insert_rows(connection, post_parts, parts)
    told = [(post, 0, change.entries) for post, change in zip(stored, made, strict=True)]
    await _tell(connection, told, now, instance)
    await remember(connection, stored)
    return stored


async def write(
    connection: AsyncConnection, steps: Sequence[Step], now: datetime, instance: str, *, content: bool = False
) -> list[Post]:
    """Write what changed; the posts as stored, in their order. `content`: texts and content may have changed too.

    Where a post leaves UNKNOWN, the money that was set aside for it is settled.
    """
    steps = await settle_unknown(connection, steps)
    after = [_stored(step, now) for step in steps]
    changed = [
        (step, post) for step, post in zip(steps, after, strict=True) if post.version != step.before.version
    ]
    if not changed:
        return after
    await update_rows(
        connection,
        posts,
        [
            {"id": post.id, **ledger_values(post), **(content_values(post) if content else {})}
            for _, post in changed
        ],
        keys=("id",),
    )
    if content:
        await _replace_parts(connection, [post for step, post in changed if step.before.parts != post.parts])
        await forget(connection, [post.id for _, post in changed])
        await remember(connection, [post for _, post in changed])
    else:
        await _update_parts(connection, changed)
    await _tell(
        connection,
        [(post, step.before.entry_count, step.change.entries) for step, post in changed],
        now,
        instance,
    )
    return after


def _stored(step: Step, now: datetime) -> Post:
    if step.change.post == step.before and not step.change.entries:
        return step.before
    return replace(
        step.change.post,
        version=step.before.version + 1,
        update_time=now,
        entry_count=step.before.entry_count + len(step.change.entries),
    )


async def _update_parts(connection: AsyncConnection, changed: Sequence[tuple[Step, Post]]) -> None:
    values = [
        {
            "post_id": post.id,
            "index": part.index,
            "state": part.state.value,
            "x_post_id": part.x_post_id or None,
            "publish_time": part.publish_time,
            "next_read_time": first_read(part.publish_time),
        }
        for step, post in changed
        for old, part in zip(step.before.parts, post.parts, strict=True)
        if old != part
    ]
    await update_rows(connection, post_parts, values, keys=("post_id", "index"))


async def _replace_parts(connection: AsyncConnection, changed: Sequence[Post]) -> None:
    if changed:
        await connection.execute(
            delete(post_parts).where(post_parts.c.post_id.in_([post.id for post in changed]))
        )
        await insert_rows(
            connection, post_parts, [part_values(post.id, part) for post in changed for part in post.parts]
        )


async def _tell(
    connection: AsyncConnection,
    told: Sequence[tuple[Post, int, Sequence[Entry]]],
    now: datetime,
    instance: str,
) -> None:
    """Append entries to stories; the number is how many entries the post had before."""
    call = current_call()
    values = [
        {
            "id": new_id(),
            "post_id": post.id,
            "bot_id": post.bot_id,
            "sequence": number,
            "time": now,
            "kind": entry.kind.value,
            "message": entry.message,
            "actor": entry.actor,
            "instance": instance,
            "state": (entry.state or post.state).value,
            "part_index": entry.part_index,
            "request_id": call.request_id if call else "",
            "details": dict(entry.details),
        }
        for post, before, entries in told
        for number, entry in enumerate(entries, before + 1)
    ]
    await insert_rows(connection, post_events, values)


@contextmanager
def unless_taken(refusal: MeshError) -> Iterator[None]:
    """Raises `refusal` where a write inside gives a part the id of a post on X that another part has."""
    try:
        yield
    except exc.IntegrityError as error:
        cause = error.orig
        if isinstance(cause, psycopg.errors.UniqueViolation) and cause.diag.constraint_name == X_POST_INDEX:
            raise refusal from None
        raise
