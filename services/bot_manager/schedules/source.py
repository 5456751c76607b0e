"""Where the posts of an occurrence come from: one port, and one implementation for each kind of content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from services.bot_manager.domain import rules
from services.bot_manager.domain.recurrence.model import Occurrence, Schedule


@dataclass(frozen=True, slots=True)
class Item:
    """One post to make. `values` are what its template may name beside `occurrence`, for a feed `{"item": …}`."""

    draft: rules.Draft
    values: Mapping[str, Any] = field(default_factory=dict)
    post_id: str = ""
    """A DRAFT, locked by the transaction, that becomes the post; empty makes a new one."""
    key: str = ""
    """What the item is known by later, for a pool."""
    round: int = 0
    """How often the pool had been gone through before, for a pool."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The occurrence makes no post. `message` is a sentence for people."""

    message: str


class Source(Protocol):
    """A kind of content."""

    async def take(
        self, connection: AsyncConnection, schedule: Schedule, occurrence: Occurrence, now: datetime
    ) -> Sequence[Item] | Skip:
        """What the occurrence publishes, oldest first. Runs in the transaction that makes the posts: what it notes holds if they do.

        Raises MeshError if it cannot tell; a refusal (InvalidArgument, FailedPrecondition, NotFound) skips the occurrence, anything
        else leaves it for later.
        """
        ...
