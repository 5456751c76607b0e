"""What schedules have seen of their feeds, and which posts their bot's pace has let through."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    """Adds tables that the release before does not know."""
    op.create_table(
        "let_through",
        sa.Column("post_id", ID, sa.ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("bot_id", ID, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
    )
    op.create_index("let_through_of_bot", "let_through", ["bot_id"])
