"""Webhooks with their deliveries, and what WatchEvents tells beside the stories of posts."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, func

from services.bot_manager.store.tables.base import DOCUMENT, ID, NAME, TIME, event_columns, metadata

events = Table(
    "events",
    metadata,
    Column("id", ID, primary_key=True),
    Column("time", TIME, nullable=False),
    Column("type", NAME, nullable=False),
    Column("bot_id", ID),
    Column("post_id", ID),
    Column("schedule_id", ID),
    Column("app_id", ID),
    Column("media_id", ID),
    Column("actor", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("detail", DOCUMENT),
    *event_columns(),
    Index("events_transaction", "transaction"),
    Index("events_age", "time"),
)
"""What happened to anything but a post's content and state: those events are made of the posts' stories. Kept for a while."""

event_ticks = Table(
    "event_ticks",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("snapshot", Text, nullable=False),
    Column("create_time", TIME, nullable=False, server_default=func.clock_timestamp()),
    Index("event_ticks_age", "create_time"),
)
"""Moments at which somebody looked: `snapshot` is PostgreSQL's pg_snapshot, which transactions had committed by then."""
