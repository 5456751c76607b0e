"""Tells the other replicas that there is a new revision, and hears it from them. A hint carries a number and is never believed:
whoever hears one reads the log."""

import asyncio
from collections.abc import Callable

from mesh.messaging import Messaging

SUBJECT = "hints.configuration"


class Hints:
    """`wake` is called for every revision made here or hinted at by others."""

    def __init__(self, messaging: Messaging, wake: Callable[[], None]) -> None:
        self._messaging = messaging
        self._wake = wake
        self._newest = 0
        self._pending = asyncio.Event()

    def announce(self, revision: int) -> None:
        """A revision was committed here. Returns at once; a hint that cannot be sent is not missed, only late."""
        self._newest = max(self._newest, revision)
        self._pending.set()
        self._wake()

    async def run(self) -> None:
        """Listen and tell until cancelled. Of several revisions made at once only the newest is told."""
        end = await self._messaging.subscribe_hint(SUBJECT, self._heard)
        try:
            while True:
                await self._pending.wait()
                self._pending.clear()
                await self._messaging.hint(SUBJECT, str(self._newest).encode())
        finally:
            await end()

    async def _heard(self, subject: str, payload: bytes) -> None:
        self._wake()
