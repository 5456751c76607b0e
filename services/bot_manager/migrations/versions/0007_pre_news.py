"""Webhooks, their deliveries, and events beside the stories of posts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TRANSACTION = sa.text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
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


def _create_events() -> None:
    identity, name, time = sa.Uuid(as_uuid=False), sa.Text(collation="C"), sa.DateTime(timezone=True)
    op.create_table(
        "events",
        sa.Column("id", identity, primary_key=True),
        sa.Column("time", time, nullable=False),
        sa.Column("type", name, nullable=False),
        sa.Column("bot_id", identity),
        sa.Column("post_id", identity),
        sa.Column("schedule_id", identity),
        sa.Column("app_id", identity),
        sa.Column("media_id", identity),
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
        sa.Column("create_time", time, nullable=False, server_default=sa.func.clock_timestamp()),
    )
    op.create_index("event_ticks_age", "event_ticks", ["create_time"])
