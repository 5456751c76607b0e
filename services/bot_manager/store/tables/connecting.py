"""Accounts that are being connected, what the server keeps between StartConnect and X's callback; and secrets that are to be destroyed."""

from sqlalchemy import Column, Index, LargeBinary, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB

from services.bot_manager.store.tables.base import ID, NAME, TIME, metadata

oauth_connects = Table(
    "oauth_connects",
    metadata,
    Column("bot_id", ID, primary_key=True),
    Column("id", ID, nullable=False),
    Column("state_hash", LargeBinary, nullable=False),
    Column("verifier", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("scopes", JSONB, nullable=False),
    Column("return_path", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("create_time", TIME, nullable=False),
    Column("expire_time", TIME, nullable=False),
    Index("oauth_connects_state", "state_hash", unique=True),
    Index("oauth_connects_age", "expire_time"),
)
"""At most one a bot: beginning anew ends the one before. `state_hash` is SHA-256 of the state, `verifier` a ciphertext."""

secret_destructions = Table(
    "secret_destructions",
    metadata,
    Column("bot_id", ID, primary_key=True),
    Column("id", ID, nullable=False),
    Column("kind", NAME, nullable=False),
    Column("reason", Text, nullable=False),
    Column("create_time", TIME, nullable=False, server_default=func.now()),
    Column("end_time", TIME),
)
"""Bots that are archived or deleted and whose secrets are to be destroyed; `end_time` is when they were for the first time. No reference
to `bots`: the row outlives its bot. `kind` of the credentials that the bot used last; empty if it had none."""
