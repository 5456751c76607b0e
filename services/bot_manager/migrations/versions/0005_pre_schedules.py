"""Schedules and their occurrences."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NAME = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)
WALL = sa.DateTime(timezone=False)
ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    """Adds tables that the release before does not know."""
    _create_schedules()
    _create_occurrences()


def _create_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", ID, primary_key=True),
        sa.Column("bot_id", ID, sa.ForeignKey("bots.id", ondelete="CASCADE"), nullable=False),
        sa.Column("notation", NAME, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("start_time", TIME, nullable=False),
        sa.Column("end_time", TIME),
        sa.Column("max_occurrences", sa.Integer, nullable=False),
        sa.Column("jitter", sa.Interval, nullable=False),
        sa.Column("misfire_policy", NAME, nullable=False),
        sa.Column("max_catch_up", sa.Integer, nullable=False),
        sa.Column("misfire_grace", sa.Interval),
        sa.Column("exclusions", JSONB, nullable=False),
        sa.Column("blackout_windows", JSONB, nullable=False),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("occurrence_count", sa.Integer, nullable=False),
        sa.Column("cursor", WALL),
        sa.Column("next_time", TIME),
        sa.Column("retry_time", TIME),
        sa.Column("last_skip_message", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.CheckConstraint("state IN ('ACTIVE', 'PAUSED', 'COMPLETED')", name="schedules_state"),
        sa.CheckConstraint("notation IN ('rrule', 'cron')", name="schedules_notation"),
        sa.CheckConstraint("misfire_policy IN ('SKIP', 'ONCE', 'CATCH_UP')", name="schedules_misfire_policy"),
        sa.CheckConstraint("state = 'ACTIVE' OR next_time IS NULL", name="schedules_next"),
    )
    op.create_index(
        "schedules_expand",
        "schedules",
        ["next_time", "id"],
        postgresql_where=sa.text("next_time IS NOT NULL"),
    )
    op.create_index(
        "schedules_complete",
        "schedules",
        ["id"],
        postgresql_where=sa.text("state = 'ACTIVE' AND next_time IS NULL"),
    )
    op.create_index("schedules_of_bot", "schedules", ["bot_id", "create_time", "id"])


def _create_occurrences() -> None:
    schedule = sa.ForeignKey("schedules.id", ondelete="CASCADE")
    op.create_table(
        "occurrences",
        sa.Column("schedule_id", ID, schedule, primary_key=True),
        sa.Column("time_zone", NAME, primary_key=True),
        sa.Column("wall_time", WALL, primary_key=True),
        sa.Column("nominal_time", TIME, nullable=False),
        sa.Column("scheduled_time", TIME, nullable=False),
        sa.Column("post_count", sa.Integer, nullable=False),
        sa.Column("missed", sa.Boolean, nullable=False),
        sa.Column("skip_message", sa.Text, nullable=False),
        sa.Column("item_key", NAME, nullable=False),
        sa.Column("item_round", sa.Integer, nullable=False),
    )
    op.create_index("occurrences_nominal", "occurrences", ["schedule_id", "nominal_time"], unique=True)
    op.create_index("occurrences_missed", "occurrences", ["schedule_id"], postgresql_where=sa.text("missed"))
