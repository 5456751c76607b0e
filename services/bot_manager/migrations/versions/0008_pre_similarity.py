"""Fingerprints of texts, and what imports answered."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds tables that the release before does not know."""
    ident, time = sa.Uuid(as_uuid=False), sa.DateTime(timezone=True)
    op.create_table(
        "similarity",
        sa.Column("post_id", ident, sa.ForeignKey("posts.id", ondelete="CASCADE"), nullable=False),
        sa.Column("bot_id", ident, nullable=False),
        sa.Column("part_index", sa.Integer, nullable=False),
        sa.Column("key", sa.BigInteger, nullable=False),
        sa.Column("time", time, nullable=False),
    )
    op.create_index("similarity_keys", "similarity", ["key", "time"])
    op.create_index("similarity_of_post", "similarity", ["post_id"])
    op.create_table(
        "imports",
        sa.Column("id", ident, primary_key=True),
        sa.Column("bot_id", ident, sa.ForeignKey("bots.id", ondelete="CASCADE"), nullable=False),
        sa.Column("result", JSONB, nullable=False),
        sa.Column("create_time", time, nullable=False),
    )
    op.create_index("imports_age", "imports", ["create_time"])
    op.create_index("imports_of_bot", "imports", ["bot_id"])
