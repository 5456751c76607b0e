"""What imports answered, for as long as a repeat of the request is answered the same."""

from sqlalchemy import Column, ForeignKey, Index, Table

from services.bot_manager.store.tables.base import DOCUMENT, ID, TIME, metadata

imports = Table(
    "imports",
    metadata,
    Column("id", ID, primary_key=True),
    Column("bot_id", ID, ForeignKey("bots.id", ondelete="CASCADE"), nullable=False),
    Column("result", DOCUMENT, nullable=False),
    Column("create_time", TIME, nullable=False),
    Index("imports_age", "create_time"),
    Index("imports_of_bot", "bot_id"),
)
