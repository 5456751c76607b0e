"""Media and their bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NAME = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)
ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    """Adds tables that the release before does not know."""
    _create_media()
    _create_chunks()
    _create_uploads()
    op.create_index(
        "post_parts_media",
        "post_parts",
        ["media_ids"],
        postgresql_using="gin",
        postgresql_ops={"media_ids": "jsonb_path_ops"},
        postgresql_where=sa.text("media_ids <> '[]'::jsonb"),
    )


def _create_media() -> None:
    op.create_table(
        "media",
        sa.Column("id", ID, primary_key=True),
        sa.Column("bot_id", ID, sa.ForeignKey("bots.id", ondelete="CASCADE")),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("content_type", NAME, nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("sha256", NAME, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("duration_ms", sa.Integer),
        sa.Column("alt_text", sa.Text, nullable=False),
        sa.Column("failure_message", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("expire_time", TIME, nullable=False),
        sa.CheckConstraint("state IN ('UPLOADING', 'PROCESSING', 'READY', 'FAILED')", name="media_state"),
        sa.CheckConstraint("kind IN ('', 'IMAGE', 'GIF', 'VIDEO')", name="media_kind"),
    )
    op.create_index("media_expiry", "media", ["expire_time"])
    op.create_index("media_of_bot", "media", ["bot_id"], postgresql_where=sa.text("bot_id IS NOT NULL"))


def _create_chunks() -> None:
    op.create_table(
        "media_chunks",
        sa.Column("media_id", ID, sa.ForeignKey("media.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    # Pictures and films do not compress, and a part of a piece is read without the whole of it.
    op.execute("ALTER TABLE media_chunks ALTER COLUMN data SET STORAGE EXTERNAL")


def _create_uploads() -> None:
    op.create_table(
        "x_media",
        sa.Column("media_id", ID, sa.ForeignKey("media.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("account", NAME, primary_key=True),
        sa.Column("x_media_id", NAME, nullable=False),
        sa.Column("stage", NAME, nullable=False),
        sa.Column("next_segment", sa.Integer, nullable=False),
        sa.Column("described", sa.Boolean, nullable=False),
        sa.Column("restarts", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("begin_time", TIME, nullable=False),
        sa.Column("sent_time", TIME),
        sa.Column("check_time", TIME),
        sa.Column("expire_time", TIME),
        sa.Column("busy_until", TIME, nullable=False),
        sa.CheckConstraint("stage IN ('NEW', 'SENDING', 'PROCESSING', 'READY')", name="x_media_stage"),
    )
