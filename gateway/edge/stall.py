"""Clients that stop reading.

The HTTP server takes the next piece of an answer only when the client's connection has room (measured: after the socket buffers of
both ends, about 4.5 MB on loopback, and nothing beyond), so a call waits for its reader and memory is bounded by itself. What is not
bounded is the time: somebody who reads nothing would hold a call, and all that a service keeps for it, for ever. A guard measures
how long one piece waits and ends the call when that is too long. Small answers are handed over whole and hold no call.
"""

import asyncio
from collections.abc import Callable


class StallGuard:
    """One timer for all pieces of an answer. `on_stall` is called once, when a piece has waited for `seconds` or a little more."""

    __slots__ = ("_loop", "_on_stall", "_seconds", "_since", "_timer")

    def __init__(
        self,
        seconds: float,
        on_stall: Callable[[], object],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._seconds = seconds
        self._on_stall = on_stall
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(seconds, self._look)

    def begin(self) -> None:
        """A piece is handed over."""
        self._since = self._loop.time()

    def end(self) -> None:
        """The piece was taken."""
        self._since = 0.0

    def stop(self) -> None:
        """Nothing is watched any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        left = self._seconds
        if self._since:
            left -= self._loop.time() - self._since
            if left <= 0:
                self._timer = None
                self._on_stall()
                return
        self._timer = self._loop.call_later(left, self._look)
