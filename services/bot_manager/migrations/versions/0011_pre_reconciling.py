"""Who reads which account to settle posts of unknown outcome."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table that the release before does not know."""
    op.create_table(
        "account_reads",
        sa.Column(
            "bot_id",
            sa.Uuid(as_uuid=False),
            sa.ForeignKey("bots.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("reader", sa.Text, nullable=False),
        sa.Column("lease_end_time", sa.DateTime(timezone=True), nullable=False),
    )
