"""X developer apps, windows of rate limits, and money spent."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NAME = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)
ID = sa.Uuid(as_uuid=False)
ZERO = sa.text("0")


def upgrade() -> None:
    """Adds tables that the release before does not know, and columns that it leaves empty."""
    _create_apps()
    _create_limits()
    _create_money()
    op.create_foreign_key("bots_app", "bots", "apps", ["app_id"], ["id"], ondelete="SET NULL")
    op.create_index("bots_of_app", "bots", ["app_id"], postgresql_where=sa.text("app_id IS NOT NULL"))
    op.add_column("attempts", sa.Column("app_id", ID))
    op.add_column(
        "attempts", sa.Column("cost_usd_micros", sa.BigInteger, nullable=False, server_default=ZERO)
    )
    op.add_column("attempts", sa.Column("settled_usd_micros", sa.BigInteger))


def _create_apps() -> None:
    op.create_table(
        "apps",
        sa.Column("id", ID, primary_key=True),
        sa.Column("display_name", NAME, nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("credentials_version", sa.Integer, nullable=False),
        sa.Column("tier", NAME, nullable=False),
        sa.Column("limits", JSONB),
        sa.Column("prices", JSONB),
        sa.Column("budget", JSONB),
        sa.Column("state", NAME, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.CheckConstraint("state IN ('ACTIVE', 'PAUSED')", name="apps_state"),
        sa.CheckConstraint("tier IN ('PAY_PER_USE', 'FREE', 'BASIC', 'PRO', 'ENTERPRISE')", name="apps_tier"),
    )
    op.create_index("apps_by_create_time", "apps", ["create_time", "id"])
    op.create_index("apps_by_display_name", "apps", ["display_name", "id"])


def _create_limits() -> None:
    op.create_table(
        "rate_limits",
        sa.Column("owner_id", ID, primary_key=True),
        sa.Column("scope", NAME, primary_key=True),
        sa.Column("operation", NAME, primary_key=True),
        sa.Column("window_seconds", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("x_limit", sa.Integer),
        sa.Column("reset_time", TIME, nullable=False),
        sa.Column("reported", sa.Boolean, nullable=False),
        sa.CheckConstraint("scope IN ('USER', 'APP')", name="rate_limits_scope"),
    )
    op.create_table(
        "breakers",
        sa.Column("owner_id", ID, primary_key=True),
        sa.Column("reason", NAME, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("open_time", TIME, nullable=False),
        sa.Column("retry_time", TIME, nullable=False),
    )


def _create_money() -> None:
    op.create_table(
        "spend",
        sa.Column("owner_id", ID, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("spent_usd_micros", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("reserved_usd_micros", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("calls", sa.Integer, nullable=False, server_default=ZERO),
    )
