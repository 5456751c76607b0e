"""Webhooks with their deliveries, and what WatchEvents tells beside the stories of posts."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

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
    Column("webhook_id", ID),
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

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", ID, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("types", JSONB, nullable=False),
    Column("bot_ids", JSONB, nullable=False),
    Column("state", NAME, nullable=False),
    Column("state_message", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("previous_secret", Text, nullable=False),
    Column("previous_secret_end_time", TIME),
    Column("after_number", BigInteger, nullable=False),
    Column("failing_since_time", TIME),
    Column("failure_count", Integer, nullable=False),
    Column("rest_end_time", TIME),
    Column("last_success_time", TIME),
    Column("creator", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_time", TIME, nullable=False),
    Column("update_time", TIME, nullable=False),
    CheckConstraint("state IN ('ACTIVE', 'PAUSED', 'DISABLED')", name="webhooks_state"),
)
"""Secrets are ciphertexts of secure_bot_data. It gets events with numbers above `after_number`; nobody calls it before `rest_end_time`."""

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", ID, primary_key=True),
    Column("webhook_id", ID, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event_id", ID, nullable=False),
    Column("event_type", NAME, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", NAME, nullable=False),
    Column("attempt_count", Integer, nullable=False),
    Column("due_time", TIME),
    Column("replay_of", ID),
    Column("create_time", TIME, nullable=False),
    Column("end_time", TIME),
    CheckConstraint("state IN ('PENDING', 'DELIVERED', 'FAILED')", name="webhook_deliveries_state"),
    CheckConstraint("(state = 'PENDING') = (due_time IS NOT NULL)", name="webhook_deliveries_due"),
    Index(
        "webhook_deliveries_due_first",
        "webhook_id",
        "due_time",
        "id",
        postgresql_where=text("state = 'PENDING'"),
    ),
    Index("webhook_deliveries_of_webhook", "webhook_id", "id"),
    Index(
        "webhook_deliveries_once",
        "webhook_id",
        "event_id",
        unique=True,
        postgresql_where=text("replay_of IS NULL"),
    ),
    Index("webhook_deliveries_age", "create_time"),
)
"""`due_time` moves on when an attempt begins: whoever makes it has until then, and a process that dies leaves it to the others."""

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("delivery_id", ID, ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("time", TIME, nullable=False),
    Column("latency_ms", Integer, nullable=False),
    Column("http_status", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("response_excerpt", Text, nullable=False),
)

webhook_cursor = Table(
    "webhook_cursor",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("tick", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("upper", BigInteger, nullable=False),
)
"""One row: the place up to which events were turned into deliveries."""
