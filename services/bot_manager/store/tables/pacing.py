"""Which posts their bot's pace has let through."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table

from services.bot_manager.store.tables.base import ID, metadata

let_through = Table(
    "let_through",
    metadata,
    Column("post_id", ID, ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True),
    Column("bot_id", ID, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Index("let_through_of_bot", "bot_id"),
)
"""Of bots that have a pace only. A row counts while its post is held under the same fence, and is removed some time after."""
