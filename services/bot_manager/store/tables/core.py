"""Bots, posts with parts, attempts and stories, readings, request ids, and bots whose leases are to be ended.

`posts` is the ledger: one row a post, changed only under its row lock. Indexes that the publisher lives on are partial, so that they
hold what waits and not what is done, and cost the same with ten thousand posts and with two million.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.bot_manager.store.tables.base import DOCUMENT, ID, NAME, TIME, event_columns, metadata

bots = Table(
    "bots",
    metadata,
    Column("id", ID, primary_key=True),
    Column("app_id", ID, ForeignKey("apps.id", name="bots_app", ondelete="SET NULL")),
    Column("handle", NAME, nullable=False),
    Column("handle_key", NAME, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("state", NAME, nullable=False),
    Column("state_reason", Text, nullable=False),
    Column("state_message", Text, nullable=False),
    Column("state_actor", Text, nullable=False),
    Column("state_time", TIME),
    Column("x_user_id", NAME, nullable=False),
    Column("labels", JSONB, nullable=False),
    Column("automation", DOCUMENT),
    Column("policy", DOCUMENT),
    Column("budget", DOCUMENT),
    Column("slots", JSONB, nullable=False),
    Column("credentials", DOCUMENT),
    Column("creator", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_time", TIME, nullable=False),
    Column("update_time", TIME, nullable=False),
    CheckConstraint(
        "state IN ('DRAFT', 'ACTIVE', 'PAUSED', 'REAUTH_REQUIRED', 'SUSPENDED', 'ARCHIVED')",
        name="bots_state",
    ),
    Index("bots_handle", "handle_key", unique=True, postgresql_where=text("state <> 'ARCHIVED'")),
    Index(
        "bots_account",
        "x_user_id",
        unique=True,
        postgresql_where=text("state <> 'ARCHIVED' AND x_user_id <> ''"),
    ),
    Index("bots_by_handle", "handle_key", "id"),
    Index("bots_by_create_time", "create_time", "id"),
    Index("bots_by_update_time", "update_time", "id"),
    Index("bots_of_app", "app_id", postgresql_where=text("app_id IS NOT NULL")),
)
"""`handle_key` is the handle casefolded. One account on X belongs to one bot that is not archived."""

posts = Table(
    "posts",
    metadata,
    Column("id", ID, primary_key=True),
    Column("bot_id", ID, ForeignKey("bots.id", ondelete="CASCADE"), nullable=False),
    Column("state", NAME, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("queue", NAME, nullable=False),
    Column("creator", Text, nullable=False),
    Column("origin", NAME, nullable=False),
    Column("editor", Text, nullable=False, server_default=""),
    Column("approval", DOCUMENT),
    Column("findings", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("cost_usd_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("schedule_id", ID),
    Column("occurrence_time", TIME),
    Column("occurrence_item", Integer, nullable=False, server_default=text("0")),
    Column("scheduled_time", TIME),
    Column("latest_publish_time", TIME),
    Column("miss_time", TIME),
    Column("due_time", TIME),
    Column("publish_time", TIME),
    Column("failure", DOCUMENT),
    Column("claim_fence", BigInteger, nullable=False),
    Column("claimed_by", Text, nullable=False),
    Column("lease_end_time", TIME),
    Column("attempt_count", Integer, nullable=False),
    Column("attempts_before", Integer, nullable=False),
    Column("entry_count", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_time", TIME, nullable=False),
    Column("update_time", TIME, nullable=False),
    CheckConstraint(
        "state IN ('DRAFT', 'PENDING_APPROVAL', 'SCHEDULED', 'CLAIMED', 'PUBLISHING', 'PUBLISHED', 'UNKNOWN',"
        " 'FAILED', 'CANCELLED', 'MISSED')",
        name="posts_state",
    ),
    CheckConstraint("origin IN ('MANUAL', 'IMPORT', 'SCHEDULE')", name="posts_origin"),
    CheckConstraint("state <> 'SCHEDULED' OR due_time IS NOT NULL", name="posts_due"),
    CheckConstraint(
        "(state IN ('CLAIMED', 'PUBLISHING')) = (lease_end_time IS NOT NULL)", name="posts_lease"
    ),
    Index("posts_claim", "due_time", "id", postgresql_where=text("state = 'SCHEDULED'")),
    Index("posts_reconcile", "due_time", "id", postgresql_where=text("state = 'UNKNOWN'")),
    Index("posts_leases", "lease_end_time", postgresql_where=text("state IN ('CLAIMED', 'PUBLISHING')")),
    Index("posts_late", "miss_time", postgresql_where=text("state IN ('SCHEDULED', 'PENDING_APPROVAL')")),
    Index(
        "posts_occurrence",
        "schedule_id",
        "occurrence_time",
        "occurrence_item",
        unique=True,
        postgresql_where=text("schedule_id IS NOT NULL"),
    ),
    Index("posts_by_create_time", "create_time", "id"),
    Index("posts_by_scheduled_time", "scheduled_time", "id"),
    Index("posts_by_publish_time", "publish_time", "id"),
    Index("posts_of_bot", "bot_id", "create_time", "id"),
    Index("posts_of_bot_by_scheduled_time", "bot_id", "scheduled_time", "id"),
    Index("posts_of_bot_by_publish_time", "bot_id", "publish_time", "id"),
)

post_parts = Table(
    "post_parts",
    metadata,
    Column("post_id", ID, ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("rendered_text", Text, nullable=False, server_default=""),
    Column("media_ids", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("state", NAME, nullable=False),
    Column("x_post_id", NAME),
    Column("publish_time", TIME),
    Column("gone_time", TIME),
    Column("next_read_time", TIME),
    CheckConstraint(
        "state IN ('PENDING', 'PUBLISHING', 'PUBLISHED', 'UNKNOWN', 'FAILED')", name="post_parts_state"
    ),
    CheckConstraint("(state = 'PUBLISHED') = (x_post_id IS NOT NULL)", name="post_parts_published"),
    Index("post_parts_x_post_id", "x_post_id", unique=True, postgresql_where=text("x_post_id IS NOT NULL")),
    Index("post_parts_reading", "next_read_time", postgresql_where=text("next_read_time IS NOT NULL")),
)
"""A post on X belongs to one part here. `gone_time` is when X first said that it is deleted. `next_read_time`:
its counters are read then."""

attempts = Table(
    "attempts",
    metadata,
    Column("id", ID, primary_key=True),
    Column("post_id", ID, ForeignKey("posts.id", ondelete="CASCADE"), nullable=False),
    Column("part_index", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("worker", Text, nullable=False),
    Column("request_hash", Text, nullable=False),
    Column("started_time", TIME, nullable=False),
    Column("finished_time", TIME),
    Column("outcome", NAME),
    Column("http_status", Integer, nullable=False, server_default=text("0")),
    Column("problem_type", Text, nullable=False, server_default=""),
    Column("problem_detail", Text, nullable=False, server_default=""),
    Column("x_request_id", Text, nullable=False, server_default=""),
    Column("latency_ms", Integer, nullable=False, server_default=text("0")),
    Column("x_post_id", NAME, nullable=False, server_default=""),
    Column("rate_limits", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("app_id", ID),
    Column("cost_usd_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("settled_usd_micros", BigInteger),
    CheckConstraint(
        "outcome IN ('ACCEPTED', 'NOT_SENT', 'REJECTED', 'DEFERRED', 'UNKNOWN', 'DUPLICATE')",
        name="attempts_outcome",
    ),
    Index("attempts_of_post", "post_id", "number", unique=True),
)
"""Intents and what came of them. `outcome` is NULL while the call is under way.

`cost_usd_micros` was reserved for the bot and for the app it had then, `settled_usd_micros` is what of it was booked in the end: all,
or 0 where it was given back. NULL: it is still reserved.
"""

post_events = Table(
    "post_events",
    metadata,
    Column("id", ID, primary_key=True),
    Column("post_id", ID, ForeignKey("posts.id", ondelete="CASCADE"), nullable=False),
    Column("bot_id", ID, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("time", TIME, nullable=False),
    Column("kind", NAME, nullable=False),
    Column("message", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("state", NAME, nullable=False),
    Column("part_index", Integer, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("details", JSONB, nullable=False),
    *event_columns(),
    Index("post_events_story", "post_id", "sequence", unique=True),
    Index("post_events_transaction", "transaction"),
)
"""The story of each post; append-only. What is told of posts to those who watch is made of it."""

post_metrics = Table(
    "post_metrics",
    metadata,
    Column("post_id", ID, ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True),
    Column("x_post_id", NAME, primary_key=True),
    Column("time", TIME, primary_key=True),
    Column("impressions", Integer, nullable=False),
    Column("likes", Integer, nullable=False),
    Column("reposts", Integer, nullable=False),
    Column("replies", Integer, nullable=False),
    Column("quotes", Integer, nullable=False),
    Column("bookmarks", Integer, nullable=False),
    Column("url_clicks", Integer, nullable=False),
    Column("profile_clicks", Integer, nullable=False),
    Column("private", Boolean, nullable=False),
    Index("post_metrics_by_time", "time", "x_post_id"),
)
"""Counters of a part as X gave them. `private`: the clicks were read too, not carried over from the reading before."""

idempotency = Table(
    "idempotency",
    metadata,
    Column("request_id", ID, primary_key=True),
    Column("method", Text, primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("response_id", ID, nullable=False),
    Column("create_time", TIME, nullable=False, server_default=func.now()),
    Index("idempotency_age", "create_time"),
)

lease_endings = Table(
    "lease_endings",
    metadata,
    Column("bot_id", ID, primary_key=True),
    Column("id", ID, nullable=False),
    Column("reason", Text, nullable=False),
    Column("create_time", TIME, nullable=False, server_default=func.now()),
    Column("end_time", TIME),
)
"""Bots that were stopped and whose leases are to be ended; `end_time` is when they were for the first time."""
