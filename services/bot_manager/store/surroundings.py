"""What stands around a post, for the policy checks. Implements `policy.ports.Surroundings`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import exists, func, select

from mesh.database import Database
from services.bot_manager.store.similarity import ON_THEIR_WAY
from services.bot_manager.store.tables import post_parts, posts

MOST: Final = 10_000


class PostgresSurroundings:
    """See the port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_own(self, bot_id: str, x_post_id: str) -> bool:
        """See the port."""
        own = exists().where(
            post_parts.c.x_post_id == x_post_id, post_parts.c.post_id == posts.c.id, posts.c.bot_id == bot_id
        )
        async with self._database.read() as connection:
            return bool(await connection.scalar(select(own)))

    async def times(self, bot_id: str, begin: datetime, end: datetime, but: str) -> Sequence[datetime]:
        """See the port."""
        query = (
            select(func.coalesce(posts.c.publish_time, posts.c.scheduled_time))
            .where(
                posts.c.bot_id == bot_id,
                posts.c.scheduled_time > begin,
                posts.c.scheduled_time < end,
                posts.c.id != but,
                posts.c.state.in_([state.value for state in ON_THEIR_WAY]),
            )
            .order_by(posts.c.scheduled_time)
            .limit(MOST)
        )
        async with self._database.read() as connection:
            return sorted((await connection.execute(query)).scalars())
