"""The tables of the schema `bot_manager`, by topic. Importing the package makes `metadata` complete."""

from services.bot_manager.store.tables import (
    connecting,
    feeds,
    imports,
    library,
    money,
    news,
    pacing,
    reconciling,
    recurring,
    similarity,
)
from services.bot_manager.store.tables.base import metadata
from services.bot_manager.store.tables.core import (
    attempts,
    bots,
    idempotency,
    lease_endings,
    post_events,
    post_metrics,
    post_parts,
    posts,
)

__all__ = [
    "attempts",
    "bots",
    "connecting",
    "feeds",
    "idempotency",
    "imports",
    "lease_endings",
    "library",
    "metadata",
    "money",
    "news",
    "pacing",
    "post_events",
    "post_metrics",
    "post_parts",
    "posts",
    "reconciling",
    "recurring",
    "similarity",
]
