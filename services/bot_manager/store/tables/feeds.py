"""What a schedule has seen of its feed."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from services.bot_manager.store.tables.base import ID, NAME, TIME, metadata

feeds = Table(
    "feeds",
    metadata,
    Column("schedule_id", ID, ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True),
    Column("url", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("last_modified", Text, nullable=False),
    Column("tried_time", TIME, nullable=False),
    Column("read_time", TIME),
    Column("failure", Text, nullable=False),
)
"""`tried_time` is when somebody last began to read it, `read_time` when that last went well, `failure` what went wrong since then."""

feed_items = Table(
    "feed_items",
    metadata,
    Column("schedule_id", ID, ForeignKey("feeds.schedule_id", ondelete="CASCADE"), primary_key=True),
    Column("key", NAME, primary_key=True),
    Column("item", JSONB, nullable=False),
    Column("published", TIME, nullable=False),
    Column("place", Integer, nullable=False),
    Column("seen_time", TIME, nullable=False),
    Column("taken", Boolean, nullable=False),
    Index("feed_items_new", "schedule_id", "published", postgresql_where=text("NOT taken")),
)
"""`published` is when it was found where the feed does not say; `place` is that in the feed, 0 for the first, usually the newest.
`seen_time` is when the feed last held it."""
