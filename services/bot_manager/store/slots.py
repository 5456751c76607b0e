"""The posts that take a bot's slots. Part of `ports.PostStore`."""

from datetime import datetime

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.bot_manager.domain.lifecycle import UNSETTLED
from services.bot_manager.domain.model import PostState
from services.bot_manager.domain.slots import Taken
from services.bot_manager.store.tables import post_parts, posts

_COMING = tuple(
    state.value for state in (PostState.SCHEDULED, PostState.PENDING_APPROVAL, *sorted(UNSETTLED))
)
_OUT = posts.c.state == PostState.PUBLISHED.value


async def read_taken(connection: AsyncConnection, bot_id: str, since: datetime) -> list[Taken]:
    """See `SlotStore.taken`."""
    parts = select(func.count()).where(post_parts.c.post_id == posts.c.id).scalar_subquery()
    query = select(case((_OUT, posts.c.publish_time), else_=posts.c.scheduled_time), parts).where(
        posts.c.bot_id == bot_id,
        or_(
            and_(posts.c.state.in_(_COMING), posts.c.scheduled_time >= since),
            and_(_OUT, posts.c.publish_time >= since),
        ),
    )
    return [Taken(time, count) for time, count in await connection.execute(query)]
