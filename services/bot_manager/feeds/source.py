"""The source of schedules that publish the news of a feed. Implements `schedules.source.Source`."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.errors import Unavailable
from services.bot_manager.domain.model import Document
from services.bot_manager.domain.recurrence.model import Occurrence, Schedule
from services.bot_manager.domain.rules import Draft
from services.bot_manager.schedules.source import Item, Skip
from services.bot_manager.store.feeds import LEAD, read_feed, take_items

STALE: Final = LEAD + timedelta(minutes=2)
"""How old what was read may be when an occurrence is made of it."""


class FeedSource:
    """`draft_of` makes a draft of the contract's PostTemplate, `wake` tells the reader that a feed is waited for."""

    def __init__(self, draft_of: Callable[[Document], Draft], wake: Callable[[], None]) -> None:
        self._draft_of = draft_of
        self._wake = wake

    async def take(
        self, connection: AsyncConnection, schedule: Schedule, occurrence: Occurrence, now: datetime
    ) -> Sequence[Item] | Skip:
        """See the port. Raises Unavailable while the feed has not been looked at for this occurrence."""
        content = schedule.content["feed"]
        known = await read_feed(connection, schedule.id)
        enough = max(occurrence.nominal_time, now) - STALE
        if known is None or known.url != content["url"] or not known.is_settled(enough):
            self._wake()
            raise Unavailable("SERVICE_UNAVAILABLE", "the feed has not been read yet")
        if not known.is_read(enough):
            return Skip(known.failure)
        since = now - _duration(content["max_age"]) if "max_age" in content else None
        items = await take_items(connection, schedule.id, since, content.get("max_items", 0) or 1)
        if not items:
            return Skip("the feed has nothing new")
        draft = self._draft_of(content["post"])
        return [Item(draft, {"item": item}) for item in items]


def _duration(text: str) -> timedelta:
    return timedelta(seconds=float(text.removesuffix("s")))
