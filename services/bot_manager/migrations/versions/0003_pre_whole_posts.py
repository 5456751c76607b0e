"""What posts hold beside texts: media, rendered templates, the decision of a second person, findings and cost."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns with defaults, which the release before leaves alone."""
    empty_list = sa.text("'[]'::jsonb")
    op.add_column("posts", sa.Column("editor", sa.Text, nullable=False, server_default=""))
    op.add_column("posts", sa.Column("approval", JSONB))
    op.add_column("posts", sa.Column("findings", JSONB, nullable=False, server_default=empty_list))
    op.add_column(
        "posts", sa.Column("cost_usd_micros", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    )
    op.add_column(
        "posts", sa.Column("occurrence_item", sa.Integer, nullable=False, server_default=sa.text("0"))
    )
    op.add_column("post_parts", sa.Column("rendered_text", sa.Text, nullable=False, server_default=""))
    op.add_column("post_parts", sa.Column("media_ids", JSONB, nullable=False, server_default=empty_list))
    op.drop_index("posts_occurrence", "posts")
    op.create_index(
        "posts_occurrence",
        "posts",
        ["schedule_id", "occurrence_time", "occurrence_item"],
        unique=True,
        postgresql_where=sa.text("schedule_id IS NOT NULL"),
    )
