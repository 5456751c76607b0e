"""What schedules have seen of their feeds, and which posts their bot's pace has let through."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds tables that the release before does not know."""
    op.create_table(
        "let_through",
        sa.Column("post_id", ID, sa.ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("bot_id", ID, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
    )
    op.create_index("let_through_of_bot", "let_through", ["bot_id"])
    _create_feeds()


def _create_feeds() -> None:
    op.create_table(
        "feeds",
        sa.Column("schedule_id", ID, sa.ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("last_modified", sa.Text, nullable=False),
        sa.Column("tried_time", TIME, nullable=False),
        sa.Column("read_time", TIME),
        sa.Column("failure", sa.Text, nullable=False),
    )
    op.create_table(
        "feed_items",
        sa.Column(
            "schedule_id", ID, sa.ForeignKey("feeds.schedule_id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("key", sa.Text(collation="C"), primary_key=True),
        sa.Column("item", JSONB, nullable=False),
        sa.Column("published", TIME, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("seen_time", TIME, nullable=False),
        sa.Column("taken", sa.Boolean, nullable=False),
    )
    op.create_index(
        "feed_items_new",
        "feed_items",
        ["schedule_id", "published"],
        postgresql_where=sa.text("NOT taken"),
    )
