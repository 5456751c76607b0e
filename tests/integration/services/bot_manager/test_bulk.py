"""Rows that travel as one document are those that single statements would write."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from mesh.database import Database
from mesh.ids import new_id
from mesh.outbox import outbox
from services.bot_manager.domain.model import Bot
from services.bot_manager.store.bulk import insert_rows, one_of, update_rows
from services.bot_manager.store.tables import post_parts, posts

from .conftest import AddBot, AddPost

ODD = 'a "quoted" \\ text, with {braces}, ünïcode 😀 and\nlines\t'


async def test_every_type_comes_back_as_it_went_in(database: Database) -> None:
    """Times to the microsecond, bytes as bytes, JSON as JSON; what is not given has its default."""
    time = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
    rows = [
        {"id": new_id(), "subject": ODD, "payload": bytes(range(256)), "headers": {"a": [1, None, ODD]}, "publish_time": time},
        {"id": new_id(), "subject": "", "payload": b"", "headers": {}, "publish_time": None},
    ]  # fmt: skip
    async with database.transaction() as connection:
        await insert_rows(connection, outbox, rows)
        await insert_rows(connection, outbox, [])
        found = (
            await connection.execute(select(outbox).where(one_of(outbox.c.id, [row["id"] for row in rows])))
        ).mappings()
        stored = {row["id"]: row for row in found}
    for row in rows:
        assert {name: stored[row["id"]][name] for name in row} == row
        assert stored[row["id"]]["create_time"] is not None


async def test_an_update_changes_what_it_names_and_nothing_else(
    database: Database, add_bot: AddBot, add_post: AddPost
) -> None:
    """Each row gets its own values; NULL clears, a condition on the stored row holds."""
    bot: Bot = await add_bot()
    first, second, third = [await add_post(bot, str(number), "more") for number in range(3)]
    later = datetime(2026, 6, 1, tzinfo=UTC)
    values = [
        {"id": first.id, "claim_fence": 7, "failure": {"reason": ODD}, "due_time": later},
        {"id": second.id, "claim_fence": 8, "failure": None, "due_time": later + timedelta(hours=1)},
    ]
    async with database.transaction() as connection:
        await update_rows(connection, posts, values, keys=("id",))
        await update_rows(
            connection,
            posts,
            [{"id": third.id, "claim_fence": 9}],
            keys=("id",),
            where="posts.state = 'DRAFT'",
        )
        rows = (await connection.execute(select(posts))).mappings()
        found = {row["id"]: dict(row) for row in rows}
    for value in values:
        assert {name: found[value["id"]][name] for name in value} == value
    assert found[third.id]["claim_fence"] == 0
    assert found[first.id]["creator"] == first.creator


async def test_a_row_may_have_a_key_of_several_columns(
    database: Database, add_bot: AddBot, add_post: AddPost
) -> None:
    """The parts of a thread share their post's id."""
    post = await add_post(await add_bot(), "one", "two", "three")
    changes = [{"post_id": post.id, "index": index, "text": f"new {index}"} for index in (2, 0)]
    async with database.transaction() as connection:
        await update_rows(connection, post_parts, changes, keys=("post_id", "index"))
        query = select(post_parts.c.text).where(post_parts.c.post_id == post.id).order_by(post_parts.c.index)
        assert list((await connection.execute(query)).scalars()) == ["new 0", "two", "new 2"]


async def test_a_failing_batch_writes_nothing(database: Database, add_bot: AddBot, add_post: AddPost) -> None:
    """One statement is all or nothing."""
    post = await add_post(await add_bot(), "one")
    row = {
        "post_id": post.id,
        "index": 5,
        "text": "x",
        "rendered_text": "",
        "media_ids": [],
        "state": "PENDING",
    }
    async with database.transaction() as connection:
        with pytest.raises(IntegrityError):
            async with connection.begin_nested():
                await insert_rows(connection, post_parts, [row, {**row, "index": 0}])
        found = await connection.execute(select(post_parts.c.index).where(post_parts.c.post_id == post.id))
        assert list(found.scalars()) == [0]
