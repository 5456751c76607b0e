"""Bots that were stopped and whose leases of secrets are still to be ended."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table that the release before does not know."""
    op.create_table(
        "lease_endings",
        sa.Column("bot_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("end_time", sa.DateTime(timezone=True)),
    )
