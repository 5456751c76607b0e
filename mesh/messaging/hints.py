"""Tells the other replicas of a service that its numbered log in the database has grown, and hears it from them.

A hint carries a number and is never believed: whoever hears one reads the log. One that gets lost costs latency and nothing else.
"""

import asyncio
from collections.abc import Callable

from mesh.messaging.connection import Messaging


class Hints:
    """`wake` is called for every entry made here or hinted at by others. `subject` is the log's own."""

    def __init__(self, messaging: Messaging, subject: str, wake: Callable[[], None]) -> None:
        self._messaging = messaging
        self._subject = subject
        self._wake = wake
        self._newest = 0
        self._pending = asyncio.Event()

    def announce(self, number: int) -> None:
        """An entry was committed here. Returns at once; a hint that cannot be sent is not missed, only late."""
        self._newest = max(self._newest, number)
        self._pending.set()
        self._wake()

    async def run(self) -> None:
        """Listen and tell until cancelled. Of several entries made at once only the newest is told."""
        end = await self._messaging.subscribe_hint(self._subject, self._heard)
        try:
            while True:
                await self._pending.wait()
                self._pending.clear()
                await self._messaging.hint(self._subject, str(self._newest).encode())
        finally:
            await end()

    async def _heard(self, subject: str, payload: bytes) -> None:
        self._wake()
