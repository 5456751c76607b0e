"""Webhooks, their deliveries, and events beside the stories of posts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TRANSACTION = sa.text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
IDENTITY, NAME, TIME = sa.Uuid(as_uuid=False), sa.Text(collation="C"), sa.DateTime(timezone=True)
NUMBER = sa.text("nextval('event_numbers')")


def upgrade() -> None:
    """Adds tables that the release before does not know, and columns that PostgreSQL fills for it."""
    op.execute("CREATE SEQUENCE event_numbers")
    # Without a default first: the stories that are there are not told anew, and the table is not written anew.
    for name in ("transaction", "event_number"):
        op.add_column("post_events", sa.Column(name, sa.BigInteger))
    op.alter_column("post_events", "transaction", server_default=TRANSACTION)
    op.alter_column("post_events", "event_number", server_default=NUMBER)
    op.create_index("post_events_transaction", "post_events", ["transaction"])
    _create_events()
    _create_webhooks()
    _create_deliveries()


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", IDENTITY, primary_key=True),
        sa.Column("time", TIME, nullable=False),
        sa.Column("type", NAME, nullable=False),
        sa.Column("bot_id", IDENTITY),
        sa.Column("post_id", IDENTITY),
        sa.Column("schedule_id", IDENTITY),
        sa.Column("app_id", IDENTITY),
        sa.Column("media_id", IDENTITY),
        sa.Column("webhook_id", IDENTITY),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("detail", JSONB),
        sa.Column("transaction", sa.BigInteger, server_default=TRANSACTION),
        sa.Column("event_number", sa.BigInteger, server_default=NUMBER),
    )
    op.create_index("events_transaction", "events", ["transaction"])
    op.create_index("events_age", "events", ["time"])
    op.create_table(
        "event_ticks",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("snapshot", sa.Text, nullable=False),
        sa.Column("create_time", TIME, nullable=False, server_default=sa.func.clock_timestamp()),
    )
    op.create_index("event_ticks_age", "event_ticks", ["create_time"])


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", IDENTITY, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("display_name", "url")),
        *(sa.Column(name, JSONB, nullable=False) for name in ("types", "bot_ids")),
        sa.Column("state", NAME, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("state_message", "secret", "previous_secret")
        ),
        sa.Column("previous_secret_end_time", TIME),
        sa.Column("after_number", sa.BigInteger, nullable=False),
        sa.Column("failing_since_time", TIME),
        sa.Column("failure_count", sa.Integer, nullable=False),
        sa.Column("rest_end_time", TIME),
        sa.Column("last_success_time", TIME),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        *(sa.Column(name, TIME, nullable=False) for name in ("create_time", "update_time")),
        sa.CheckConstraint("state IN ('ACTIVE', 'PAUSED', 'DISABLED')", name="webhooks_state"),
    )


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", IDENTITY, primary_key=True),
        sa.Column("webhook_id", IDENTITY, sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("event_id", IDENTITY, nullable=False),
        sa.Column("event_type", NAME, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("attempt_count", sa.Integer, nullable=False),
        sa.Column("due_time", TIME),
        sa.Column("replay_of", IDENTITY),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("end_time", TIME),
        sa.CheckConstraint("state IN ('PENDING', 'DELIVERED', 'FAILED')", name="webhook_deliveries_state"),
        sa.CheckConstraint("(state = 'PENDING') = (due_time IS NOT NULL)", name="webhook_deliveries_due"),
    )
    op.create_index(
        "webhook_deliveries_due_first",
        "webhook_deliveries",
        ["webhook_id", "due_time", "id"],
        postgresql_where=sa.text("state = 'PENDING'"),
    )
    op.create_index("webhook_deliveries_of_webhook", "webhook_deliveries", ["webhook_id", "id"])
    op.create_index(
        "webhook_deliveries_once",
        "webhook_deliveries",
        ["webhook_id", "event_id"],
        unique=True,
        postgresql_where=sa.text("replay_of IS NULL"),
    )
    op.create_index("webhook_deliveries_age", "webhook_deliveries", ["create_time"])
    delivery = sa.ForeignKey("webhook_deliveries.id", ondelete="CASCADE")
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", IDENTITY, delivery, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time", TIME, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("latency_ms", "http_status")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("error", "response_excerpt")),
    )
    op.create_table(
        "webhook_cursor",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("tick", "number", "upper")),
    )
