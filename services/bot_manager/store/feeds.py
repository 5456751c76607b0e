"""Feeds on PostgreSQL: which are to be read, and what was seen in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from services.bot_manager.domain.model import BotState
from services.bot_manager.feeds.model import FeedItem, Validators
from services.bot_manager.store.tables import bots
from services.bot_manager.store.tables.feeds import feed_items, feeds
from services.bot_manager.store.tables.recurring import schedules

LEAD: Final = timedelta(minutes=3)
"""How long before an occurrence its feed is read: posts are made of it a minute before, and there is to be time for another try."""
AGAIN: Final = timedelta(seconds=20)
"""Pause between two tries; longer than one may take by default, so that two replicas do not read the same feed."""
FORGET: Final = timedelta(days=30)
"""How long an item is remembered that its feed does not hold any more: feeds may lose items for a while and show them again."""


@dataclass(frozen=True, slots=True)
class FeedClaim:
    """A feed that the caller is to read. `keep_first`: what it holds the first time is new as well."""

    schedule_id: str
    url: str
    validators: Validators
    keep_first: bool


@dataclass(frozen=True, slots=True)
class FeedState:
    """How reading a feed has gone."""

    url: str
    tried_time: datetime
    read_time: datetime | None
    failure: str

    def is_read(self, since: datetime) -> bool:
        """Whether it was read then or later."""
        return self.read_time is not None and self.read_time >= since

    def is_settled(self, since: datetime) -> bool:
        """Whether it was read, or tried in vain, then or later."""
        return self.is_read(since) or (self.failure != "" and self.tried_time >= since)


class FeedStore(Protocol):
    """The reader's side. Claims whose feed has another address by now change nothing."""

    async def claim(self, now: datetime, limit: int) -> Sequence[FeedClaim]:
        """Feeds to be read now, the most pressing first; for a while nobody else gets them."""
        ...

    async def note_failure(self, claim: FeedClaim, message: str) -> None:
        """It gave nothing; what was seen stays."""
        ...

    async def note_unchanged(self, claim: FeedClaim, now: datetime) -> None:
        """It says that nothing has changed."""
        ...

    async def note_items(
        self, claim: FeedClaim, items: Sequence[FeedItem], validators: Validators, now: datetime
    ) -> int:
        """It holds these items, in its order; how many of them are new."""
        ...


class PostgresFeeds:
    """Implements FeedStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, now: datetime, limit: int) -> list[FeedClaim]:
        """See the port."""
        feed = schedules.c.content["feed"]
        address = feed["url"].astext
        known = feeds.c.url == address
        unread = or_(feeds.c.schedule_id.is_(None), ~known, feeds.c.read_time.is_(None))
        soon = and_(
            schedules.c.next_time <= now + LEAD,
            feeds.c.read_time < func.greatest(schedules.c.next_time, now) - LEAD,
            bots.c.state == BotState.ACTIVE.value,
        )
        due = (
            select(schedules.c.id, address.label("url"), feed["include_existing"].astext.label("keep"))
            .join(bots, bots.c.id == schedules.c.bot_id)
            .outerjoin(feeds, feeds.c.schedule_id == schedules.c.id)
            .where(
                schedules.c.next_time.is_not(None),
                schedules.c.content.has_key("feed"),
                or_(unread, soon),
                or_(feeds.c.schedule_id.is_(None), ~known, feeds.c.tried_time <= now - AGAIN),
            )
            .order_by(schedules.c.next_time, schedules.c.id)
            .limit(limit)
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            found = (await connection.execute(due)).all()
            claims = [await _claim(connection, row, now) for row in found]
        return [claim for claim in claims if claim is not None]

    async def note_failure(self, claim: FeedClaim, message: str) -> None:
        """See the port."""
        await self._note(claim, failure=message)

    async def note_unchanged(self, claim: FeedClaim, now: datetime) -> None:
        """See the port."""
        await self._note(claim, read_time=now, failure="")

    async def note_items(
        self, claim: FeedClaim, items: Sequence[FeedItem], validators: Validators, now: datetime
    ) -> int:
        """See the port."""
        async with self._database.transaction(concludes=False, wake=False) as connection:
            locked = select(feeds.c.read_time).where(_is(claim)).with_for_update()
            row = (await connection.execute(locked)).one_or_none()
            if row is None:
                return 0
            counts_as_seen = row.read_time is None and not claim.keep_first
            fresh = await _add(connection, claim, items, now, taken=counts_as_seen)
            old = and_(feed_items.c.schedule_id == claim.schedule_id, feed_items.c.seen_time < now - FORGET)
            await connection.execute(delete(feed_items).where(old))
            values = {"etag": validators.etag, "last_modified": validators.last_modified}
            await connection.execute(
                update(feeds).where(_is(claim)).values(read_time=now, failure="", **values)
            )
            return 0 if counts_as_seen else fresh

    async def _note(self, claim: FeedClaim, **values: Any) -> None:
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(update(feeds).where(_is(claim)).values(values))


async def read_feed(connection: AsyncConnection, schedule_id: str) -> FeedState | None:
    """How reading the feed of a schedule has gone; None if nobody has tried."""
    query = select(feeds.c.url, feeds.c.tried_time, feeds.c.read_time, feeds.c.failure)
    row = (await connection.execute(query.where(feeds.c.schedule_id == schedule_id))).one_or_none()
    return None if row is None else FeedState(*row)


async def take_items(
    connection: AsyncConnection, schedule_id: str, since: datetime | None, limit: int
) -> list[dict[str, Any]]:
    """Items that nobody took yet and that are not older than `since`, oldest first. They are taken if the transaction commits."""
    fresh = and_(feed_items.c.schedule_id == schedule_id, ~feed_items.c.taken)
    if since is not None:
        too_old = and_(fresh, feed_items.c.published < since)
        await connection.execute(update(feed_items).where(too_old).values(taken=True))
    query = (
        select(feed_items.c.key, feed_items.c.item, feed_items.c.published)
        .where(fresh)
        .order_by(feed_items.c.published, feed_items.c.place.desc())
        .limit(limit)
        .with_for_update()
    )
    rows = (await connection.execute(query)).all()
    mine = and_(feed_items.c.schedule_id == schedule_id, feed_items.c.key.in_([row.key for row in rows]))
    await connection.execute(update(feed_items).where(mine).values(taken=True))
    return [{**row.item, "published": row.published} for row in rows]


async def _claim(connection: AsyncConnection, row: Any, now: datetime) -> FeedClaim | None:
    """The feed as ours to read; None if another replica was faster. One with another address than before begins anew."""
    moved = and_(feeds.c.schedule_id == row.id, feeds.c.url != row.url)
    await connection.execute(delete(feeds).where(moved))
    statement = insert(feeds).values(
        schedule_id=row.id, url=row.url, tried_time=now, etag="", last_modified="", failure=""
    )
    statement = statement.on_conflict_do_update(
        index_elements=[feeds.c.schedule_id],
        set_={"tried_time": now},
        where=feeds.c.tried_time <= now - AGAIN,
    )
    returned = statement.returning(feeds.c.etag, feeds.c.last_modified)
    claimed = (await connection.execute(returned)).one_or_none()
    if claimed is None:
        return None
    return FeedClaim(row.id, row.url, Validators(*claimed), row.keep == "true")


async def _add(
    connection: AsyncConnection, claim: FeedClaim, items: Sequence[FeedItem], now: datetime, *, taken: bool
) -> int:
    """Items that are not known yet; of those that are, only that they are still there. How many are new."""
    if not items:
        return 0
    statement = insert(feed_items).values(
        [
            {
                "schedule_id": claim.schedule_id,
                "key": item.key,
                "item": {
                    "title": item.title,
                    "link": item.link,
                    "summary": item.summary,
                    "author": item.author,
                },
                "published": item.published or now,
                "place": place,
                "seen_time": now,
                "taken": taken,
            }
            for place, item in enumerate(items)
        ]
    )
    statement = statement.on_conflict_do_update(
        index_elements=[feed_items.c.schedule_id, feed_items.c.key], set_={"seen_time": now}
    )
    known = select(feed_items.c.key).where(
        feed_items.c.schedule_id == claim.schedule_id, feed_items.c.key.in_([item.key for item in items])
    )
    before = len((await connection.execute(known)).all())
    await connection.execute(statement)
    return len(items) - before


def _is(claim: FeedClaim) -> Any:
    return and_(feeds.c.schedule_id == claim.schedule_id, feeds.c.url == claim.url)
