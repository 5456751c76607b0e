"""Fingerprints of posts that are to go out or have: kept with the posts, in the same transaction, and asked for what is alike.

A post that was called off, missed or has failed keeps only those of its parts that are on X: nothing else of it was said.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from services.bot_manager.domain.model import PartState, Post, PostState
from services.bot_manager.domain.policy.facts import Likeness
from services.bot_manager.domain.policy.fingerprints import fingerprint
from services.bot_manager.policy.ports import Likes
from services.bot_manager.store.tables.similarity import similarity

ON_THEIR_WAY: Final = frozenset(
    {PostState.PENDING_APPROVAL, PostState.SCHEDULED, PostState.CLAIMED}
    | {PostState.PUBLISHING, PostState.UNKNOWN, PostState.PUBLISHED}
)
_AT_X: Final = frozenset({PostState.PUBLISHING, PostState.UNKNOWN, PostState.PUBLISHED})
_OF_ONE_KEY: Final = 8
"""Posts that are looked at for one key: enough to name one, and bounded where thousands say the same."""

_INSERT = text(
    "INSERT INTO similarity (post_id, bot_id, part_index, key, time) SELECT * FROM unnest("
    "CAST(:posts AS uuid[]), CAST(:bots AS uuid[]), CAST(:parts AS integer[]), CAST(:keys AS bigint[]), CAST(:times AS timestamptz[]))"
)
_FIND = text(
    """
    SELECT asked.number, asked.same, found.*
    FROM unnest(
        CAST(:numbers AS integer[]), CAST(:keys AS bigint[]), CAST(:sames AS boolean[]), CAST(:posts AS uuid[]),
        CAST(:bots AS uuid[]), CAST(:times AS timestamptz[]), CAST(:own AS interval[]), CAST(:others AS interval[]),
        CAST(:ahead AS boolean[])
    ) AS asked (number, key, same, post_id, bot_id, time, own, others, ahead)
    CROSS JOIN LATERAL (
        SELECT one.post_id, one.bot_id, one.time, part.text, part.rendered_text
        FROM similarity AS one
        JOIN posts ON posts.id = one.post_id
        JOIN post_parts AS part ON part.post_id = one.post_id AND part.index = one.part_index
        WHERE one.key = asked.key AND one.post_id <> asked.post_id
        AND one.time > asked.time - greatest(asked.own, asked.others)
        AND one.time < asked.time + greatest(asked.own, asked.others)
        AND (one.bot_id = asked.bot_id OR one.time > asked.time - asked.others AND one.time < asked.time + asked.others)
        AND (one.bot_id <> asked.bot_id OR one.time > asked.time - asked.own AND one.time < asked.time + asked.own)
        AND (posts.state = ANY (CAST(:states AS text[])) OR part.state = 'PUBLISHED')
        AND (NOT asked.ahead OR posts.id < asked.post_id OR posts.state = ANY (CAST(:at_x AS text[])))
        ORDER BY one.time
        LIMIT :most
    ) AS found
    ORDER BY asked.number, NOT asked.same, found.time, found.post_id
    """
)


async def remember(connection: AsyncConnection, posts: Iterable[Post]) -> None:
    """Keep the fingerprints of posts that have none kept."""
    rows = [row for post in posts for row in _rows(post)]
    if rows:
        columns = zip(("posts", "bots", "parts", "keys", "times"), zip(*rows, strict=True), strict=True)
        await connection.execute(_INSERT, {name: list(column) for name, column in columns})


async def forget(connection: AsyncConnection, post_ids: Sequence[str]) -> None:
    """Remove the fingerprints of posts."""
    await connection.execute(delete(similarity).where(similarity.c.post_id.in_(post_ids)))


class PostgresLikenesses:
    """Implements `policy.ports.Likenesses`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, asked: Sequence[Likes]) -> Sequence[Sequence[Likeness]]:
        """See the port."""
        found: list[list[Likeness]] = [[] for _ in asked]
        keys = [
            (number, key, place == 0)
            for number, one in enumerate(asked)
            for place, key in enumerate(one.keys)
        ]
        if not keys:
            return found
        async with self._database.read() as connection:
            rows = (await connection.execute(_FIND, _question(asked, keys))).all()
        for row in rows:
            one = asked[row.number]
            likeness = Likeness(
                one.part_index,
                str(row.post_id),
                str(row.bot_id) == one.bot_id,
                row.same,
                row.time,
                row.rendered_text or row.text,
            )
            if all(
                known.post_id != likeness.post_id or known.text != likeness.text
                for known in found[row.number]
            ):
                found[row.number].append(likeness)
        return found


def _question(asked: Sequence[Likes], keys: Sequence[tuple[int, int, bool]]) -> dict[str, Any]:
    of = [asked[number] for number, _, _ in keys]
    return {
        "numbers": [number for number, _, _ in keys],
        "keys": [key for _, key, _ in keys],
        "sames": [same for _, _, same in keys],
        "posts": [one.post_id for one in of],
        "bots": [one.bot_id for one in of],
        "times": [one.time for one in of],
        "own": [one.own_window for one in of],
        "others": [one.other_window for one in of],
        "ahead": [one.ahead for one in of],
        "states": [state.value for state in ON_THEIR_WAY],
        "at_x": [state.value for state in _AT_X],
        "most": _OF_ONE_KEY,
    }


def _rows(post: Post) -> Iterable[tuple[str, str, int, int, datetime]]:
    time = post.publish_time or post.scheduled_time
    if time is None:
        return
    for part in post.parts:
        if post.state in ON_THEIR_WAY or part.state is PartState.PUBLISHED:
            made = fingerprint(part.sent_text)
            for key in made.keys if made else ():
                yield post.id, post.bot_id, part.index, key, time
