"""Checkpoints outside of the database: in a stream that this service may add to and read, and nobody may delete from.

Whoever rewrites the database, with hashes that fit, does not reach what lies there.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Final, Protocol

from mesh.messaging import Messaging
from services.logging.domain.notes import origin

STREAM: Final = "CHECKPOINTS"
SUBJECT: Final = "checkpoints.logging"


class Outside(Protocol):
    """A place outside of the database. Every method raises Unavailable while it is away."""

    async def keep(self, note: str) -> None:
        """Add a note; one that was added just before is not added twice."""

    async def newest(self, chain: str) -> str | None:
        """The note about a chain that was added last."""

    def all(self) -> AsyncIterator[list[str]]:
        """Every note in the order in which they were added, some at a time."""


class StreamOutside:
    """Outside on JetStream."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging

    async def keep(self, note: str) -> None:
        """See Outside."""
        payload = note.encode()
        await self._messaging.publish(SUBJECT, payload, message_id=hashlib.sha256(payload).hexdigest())

    async def newest(self, chain: str) -> str | None:
        """See Outside."""
        about = f"{origin(chain)}\n"
        found = await self._messaging.read_last(STREAM, SUBJECT)
        if found is None or _text(found.payload).startswith(about):
            return None if found is None else _text(found.payload)
        last: str | None = None
        async for notes in self.all():
            last = next((note for note in reversed(notes) if note.startswith(about)), last)
        return last

    async def all(self) -> AsyncIterator[list[str]]:
        """See Outside."""
        async for found in self._messaging.read(STREAM, SUBJECT):
            yield [_text(item.payload) for item in found]


def _text(payload: bytes) -> str:
    return payload.decode(errors="replace")
