"""Fingerprints of texts, by which duplicates and near-duplicates are found."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table

from services.bot_manager.store.tables.base import ID, TIME, metadata

similarity = Table(
    "similarity",
    metadata,
    Column("post_id", ID, ForeignKey("posts.id", ondelete="CASCADE"), nullable=False),
    Column("bot_id", ID, nullable=False),
    Column("part_index", Integer, nullable=False),
    Column("key", BigInteger, nullable=False),
    Column("time", TIME, nullable=False),
    Index("similarity_keys", "key", "time"),
    Index("similarity_of_post", "post_id"),
)
"""One row for each key of each part of a post that is to go out or has, `time` being when. What a key is: `domain/policy/fingerprints.py`.

An index of keys and times, and not an inverted one of arrays: so the posts with a key that thousands share are read from the window on
and only as far as wanted.
"""
