"""Who reads which account, so that replicas do not read the same one at once."""

from sqlalchemy import Column, ForeignKey, Table, Text

from services.bot_manager.store.tables.base import ID, TIME, metadata

account_reads = Table(
    "account_reads",
    metadata,
    Column("bot_id", ID, ForeignKey("bots.id", ondelete="CASCADE"), primary_key=True),
    Column("reader", Text, nullable=False),
    Column("lease_end_time", TIME, nullable=False),
)
"""A row is a lease; its times are the database's, so that clocks that differ take it from nobody."""
