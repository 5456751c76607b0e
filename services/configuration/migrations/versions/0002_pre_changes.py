"""Changes of settings that are not in force at once, the settings they hold, and what instances tell of their calls meanwhile."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

NAME = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "setting_changes",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("state", NAME, nullable=False),
        sa.Column("items", JSONB, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("plan", JSONB),
        sa.Column("approver", sa.Text, nullable=False),
        sa.Column("decider", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("steps_taken", sa.Integer, nullable=False),
        sa.Column("share_percent", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("staged_revision", sa.BigInteger, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.Column("expire_time", TIME),
        sa.Column("next_time", TIME),
    )
    due = sa.text("next_time IS NOT NULL")
    op.create_index("setting_changes_due", "setting_changes", ["next_time"], postgresql_where=due)
    op.create_index("setting_changes_by_state", "setting_changes", ["state", "id"])
    op.create_table(
        "pending_settings",
        sa.Column("key", NAME, primary_key=True),
        sa.Column("change_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("staged", JSONB),
    )
    op.create_index("pending_settings_of_change", "pending_settings", ["change_id"])
    op.create_table(
        "instance_calls",
        sa.Column("service", NAME, primary_key=True),
        sa.Column("instance", NAME, primary_key=True),
        sa.Column("count_time", TIME, primary_key=True),
        sa.Column("report_time", TIME, primary_key=True),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
    )
    op.create_index("instance_calls_age", "instance_calls", ["report_time"])
