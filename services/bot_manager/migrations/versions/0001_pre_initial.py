"""Bots, the ledger of posts with attempts and story, readings, request ids; outbox and inbox."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from mesh.migrate import create_mesh_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NAME = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)
ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    """Makes every table of the service."""
    create_mesh_tables(op)
    _create_bots()
    _create_posts()
    _index_posts()
    _create_parts()
    _create_attempts()
    _create_story()
    _create_readings()
    _create_idempotency()


def _create_bots() -> None:
    op.create_table(
        "bots",
        sa.Column("id", ID, primary_key=True),
        sa.Column("app_id", ID),
        sa.Column("handle", NAME, nullable=False),
        sa.Column("handle_key", NAME, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("state_reason", sa.Text, nullable=False),
        sa.Column("state_message", sa.Text, nullable=False),
        sa.Column("state_actor", sa.Text, nullable=False),
        sa.Column("state_time", TIME),
        sa.Column("x_user_id", NAME, nullable=False),
        sa.Column("labels", JSONB, nullable=False),
        sa.Column("automation", JSONB),
        sa.Column("policy", JSONB),
        sa.Column("budget", JSONB),
        sa.Column("slots", JSONB, nullable=False),
        sa.Column("credentials", JSONB),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.CheckConstraint(
            "state IN ('DRAFT', 'ACTIVE', 'PAUSED', 'REAUTH_REQUIRED', 'SUSPENDED', 'ARCHIVED')",
            name="bots_state",
        ),
    )
    op.create_index(
        "bots_handle", "bots", ["handle_key"], unique=True, postgresql_where=sa.text("state <> 'ARCHIVED'")
    )
    op.create_index("bots_by_handle", "bots", ["handle_key", "id"])
    op.create_index("bots_by_create_time", "bots", ["create_time", "id"])
    op.create_index("bots_by_update_time", "bots", ["update_time", "id"])


def _create_posts() -> None:
    op.create_table(
        "posts",
        sa.Column("id", ID, primary_key=True),
        sa.Column("bot_id", ID, sa.ForeignKey("bots.id", ondelete="CASCADE"), nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("origin", NAME, nullable=False),
        sa.Column("schedule_id", ID),
        sa.Column("occurrence_time", TIME),
        sa.Column("scheduled_time", TIME),
        sa.Column("latest_publish_time", TIME),
        sa.Column("miss_time", TIME),
        sa.Column("due_time", TIME),
        sa.Column("publish_time", TIME),
        sa.Column("failure", JSONB),
        sa.Column("claim_fence", sa.BigInteger, nullable=False),
        sa.Column("claimed_by", sa.Text, nullable=False),
        sa.Column("lease_end_time", TIME),
        sa.Column("attempt_count", sa.Integer, nullable=False),
        sa.Column("attempts_before", sa.Integer, nullable=False),
        sa.Column("entry_count", sa.Integer, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.CheckConstraint(
            "state IN ('DRAFT', 'PENDING_APPROVAL', 'SCHEDULED', 'CLAIMED', 'PUBLISHING', 'PUBLISHED', 'UNKNOWN',"
            " 'FAILED', 'CANCELLED', 'MISSED')",
            name="posts_state",
        ),
        sa.CheckConstraint("origin IN ('MANUAL', 'IMPORT', 'SCHEDULE')", name="posts_origin"),
        sa.CheckConstraint("state <> 'SCHEDULED' OR due_time IS NOT NULL", name="posts_due"),
        sa.CheckConstraint(
            "(state IN ('CLAIMED', 'PUBLISHING')) = (lease_end_time IS NOT NULL)", name="posts_lease"
        ),
    )


def _index_posts() -> None:
    def index(name: str, *columns: str, where: str = "", **options: Any) -> None:
        if where:
            options["postgresql_where"] = sa.text(where)
        op.create_index(name, "posts", list(columns), **options)

    index("posts_claim", "due_time", "id", where="state = 'SCHEDULED'")
    index("posts_reconcile", "due_time", "id", where="state = 'UNKNOWN'")
    index("posts_leases", "lease_end_time", where="state IN ('CLAIMED', 'PUBLISHING')")
    index("posts_late", "miss_time", where="state IN ('SCHEDULED', 'PENDING_APPROVAL')")
    index("posts_occurrence", "schedule_id", "occurrence_time", unique=True, where="schedule_id IS NOT NULL")
    index("posts_by_create_time", "create_time", "id")
    index("posts_by_scheduled_time", "scheduled_time", "id")
    index("posts_by_publish_time", "publish_time", "id")
    index("posts_of_bot", "bot_id", "create_time", "id")
    index("posts_of_bot_by_scheduled_time", "bot_id", "scheduled_time", "id")
    index("posts_of_bot_by_publish_time", "bot_id", "publish_time", "id")


def _create_parts() -> None:
    op.create_table(
        "post_parts",
        sa.Column("post_id", ID, sa.ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("x_post_id", NAME),
        sa.Column("publish_time", TIME),
        sa.Column("gone_time", TIME),
        sa.CheckConstraint(
            "state IN ('PENDING', 'PUBLISHING', 'PUBLISHED', 'UNKNOWN', 'FAILED')", name="post_parts_state"
        ),
        sa.CheckConstraint("(state = 'PUBLISHED') = (x_post_id IS NOT NULL)", name="post_parts_published"),
    )
    op.create_index(
        "post_parts_x_post_id",
        "post_parts",
        ["x_post_id"],
        unique=True,
        postgresql_where=sa.text("x_post_id IS NOT NULL"),
    )


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", ID, primary_key=True),
        sa.Column("post_id", ID, sa.ForeignKey("posts.id", ondelete="CASCADE"), nullable=False),
        sa.Column("part_index", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("request_hash", sa.Text, nullable=False),
        sa.Column("started_time", TIME, nullable=False),
        sa.Column("finished_time", TIME),
        sa.Column("outcome", NAME),
        sa.Column("http_status", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("problem_type", sa.Text, nullable=False, server_default=""),
        sa.Column("problem_detail", sa.Text, nullable=False, server_default=""),
        sa.Column("x_request_id", sa.Text, nullable=False, server_default=""),
        sa.Column("latency_ms", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("x_post_id", NAME, nullable=False, server_default=""),
        sa.Column("rate_limits", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.CheckConstraint(
            "outcome IN ('ACCEPTED', 'NOT_SENT', 'REJECTED', 'DEFERRED', 'UNKNOWN', 'DUPLICATE')",
            name="attempts_outcome",
        ),
    )
    op.create_index("attempts_of_post", "attempts", ["post_id", "number"], unique=True)


def _create_story() -> None:
    op.create_table(
        "post_events",
        sa.Column("id", ID, primary_key=True),
        sa.Column("post_id", ID, sa.ForeignKey("posts.id", ondelete="CASCADE"), nullable=False),
        sa.Column("bot_id", ID, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("part_index", sa.Integer, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("details", JSONB, nullable=False),
    )
    op.create_index("post_events_story", "post_events", ["post_id", "sequence"], unique=True)


def _create_readings() -> None:
    op.create_table(
        "post_metrics",
        sa.Column("post_id", ID, sa.ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("x_post_id", NAME, primary_key=True),
        sa.Column("time", TIME, primary_key=True),
        sa.Column("impressions", sa.Integer, nullable=False),
        sa.Column("likes", sa.Integer, nullable=False),
        sa.Column("reposts", sa.Integer, nullable=False),
        sa.Column("replies", sa.Integer, nullable=False),
        sa.Column("quotes", sa.Integer, nullable=False),
        sa.Column("bookmarks", sa.Integer, nullable=False),
        sa.Column("url_clicks", sa.Integer, nullable=False),
        sa.Column("profile_clicks", sa.Integer, nullable=False),
        sa.Column("private", sa.Boolean, nullable=False),
    )


def _create_idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("request_id", ID, primary_key=True),
        sa.Column("method", sa.Text, primary_key=True),
        sa.Column("actor", sa.Text, primary_key=True),
        sa.Column("request_hash", sa.LargeBinary, nullable=False),
        sa.Column("response_id", ID, nullable=False),
        sa.Column("create_time", TIME, nullable=False, server_default=sa.func.now()),
    )
    op.create_index("idempotency_age", "idempotency", ["create_time"])
