"""Media: what is known of each file, its bytes, and what X has of it.

`media_chunks` holds pieces of 1 MiB that the migration keeps uncompressed and out of line (STORAGE EXTERNAL), so that a piece of a piece
is read without the rest. A file whose bytes are not all there is UPLOADING and nobody's business; its `expire_time` is near.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from services.bot_manager.store.tables.base import ID, NAME, TIME, metadata
from services.bot_manager.store.tables.core import post_parts

media = Table(
    "media",
    metadata,
    Column("id", ID, primary_key=True),
    Column("bot_id", ID, ForeignKey("bots.id", ondelete="CASCADE")),
    Column("filename", Text, nullable=False),
    Column("content_type", NAME, nullable=False),
    Column("kind", NAME, nullable=False),
    Column("state", NAME, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", NAME, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("duration_ms", Integer),
    Column("alt_text", Text, nullable=False),
    Column("failure_message", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_time", TIME, nullable=False),
    Column("expire_time", TIME, nullable=False),
    CheckConstraint("state IN ('UPLOADING', 'PROCESSING', 'READY', 'FAILED')", name="media_state"),
    CheckConstraint("kind IN ('', 'IMAGE', 'GIF', 'VIDEO')", name="media_kind"),
    Index("media_expiry", "expire_time"),
    Index("media_of_bot", "bot_id", postgresql_where=text("bot_id IS NOT NULL")),
)

media_chunks = Table(
    "media_chunks",
    metadata,
    Column("media_id", ID, ForeignKey("media.id", ondelete="CASCADE"), primary_key=True),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
"""Every piece but the last has 1 MiB."""

x_media = Table(
    "x_media",
    metadata,
    Column("media_id", ID, ForeignKey("media.id", ondelete="CASCADE"), primary_key=True),
    Column("account", NAME, primary_key=True),
    Column("x_media_id", NAME, nullable=False),
    Column("stage", NAME, nullable=False),
    Column("next_segment", Integer, nullable=False),
    Column("described", Boolean, nullable=False),
    Column("restarts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("begin_time", TIME, nullable=False),
    Column("sent_time", TIME),
    Column("check_time", TIME),
    Column("expire_time", TIME),
    Column("busy_until", TIME, nullable=False),
    CheckConstraint("stage IN ('NEW', 'SENDING', 'PROCESSING', 'READY')", name="x_media_stage"),
)
"""How far a file has come on its way to an account on X. `busy_until`: until then one worker alone goes on with it."""

media_use = Index(
    "post_parts_media",
    post_parts.c.media_ids,
    postgresql_using="gin",
    postgresql_ops={"media_ids": "jsonb_path_ops"},
    postgresql_where=text("media_ids <> '[]'::jsonb"),
)
"""Finds the posts that use a file."""
