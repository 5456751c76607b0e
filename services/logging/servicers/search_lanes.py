"""How many searches run at once, how many wait, and for how long: what keeps broad searches from taking the database from ingest.

A search runs in a lane. There are a few; a search that finds none free waits for its turn in a short queue, and one that finds the queue
full is refused before anything is spent on it. In its lane it has a time limit of its own, never beyond the deadline of the call.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mesh.clock import Clock
from mesh.context import current_call
from mesh.errors import DeadlineExceeded, ResourceExhausted

WAITING_PER_LANE: Final = 4
RETRY_AFTER: Final = timedelta(seconds=2)
ANSWER_SECONDS: Final = 0.2
"""Kept back of the call's deadline, so that the answer, or the word that there is none, still arrives."""


@dataclass(frozen=True, slots=True)
class SearchRules:
    """`lanes`: searches at once; `seconds`: the most that one may take."""

    lanes: int
    seconds: float


class SearchLanes:
    """The lanes of this process."""

    def __init__(self, rules: Callable[[], SearchRules], clock: Clock) -> None:
        self._rules = rules
        self._clock = clock
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def lane(self, *, begun: bool = False) -> AsyncIterator[float]:
        """A lane for the length of the block, and how many seconds the search in it may take.

        `begun` is for what has been let in before and goes on, such as an export: it waits however long the queue is, so whoever says so
        must be bounded otherwise. Raises ResourceExhausted (OVERLOADED) when there is no place or the turn does not come in time, and
        DeadlineExceeded (DEADLINE_TOO_SHORT), in words that help, for a search that took too long.
        """
        rules = self._rules()
        await self._enter(begun, self._seconds(rules))
        try:
            seconds = self._seconds(rules)
            yield seconds
        except DeadlineExceeded:
            raise DeadlineExceeded(
                "DEADLINE_TOO_SHORT",
                f"the search did not finish within {seconds:.0f} s; a shorter time range or more filters help",
            ) from None
        finally:
            self._running -= 1
            self._call_next()

    def _seconds(self, rules: SearchRules) -> float:
        call = current_call()
        if call is None or call.deadline is None:
            return rules.seconds
        return max(0.0, min(rules.seconds, call.deadline - self._clock.monotonic() - ANSWER_SECONDS))

    async def _enter(self, begun: bool, patience_seconds: float) -> None:
        lanes = self._rules().lanes
        if self._running < lanes and not self._waiting:
            self._running += 1
            return
        if not begun and len(self._waiting) >= lanes * WAITING_PER_LANE:
            raise _overloaded()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(None if begun else patience_seconds):
                await turn
        except BaseException as error:
            self._give_up(turn)
            if isinstance(error, TimeoutError):
                raise _overloaded() from None
            raise

    def _give_up(self, turn: "asyncio.Future[None]") -> None:
        """The turn may have come at the very moment in which nobody wanted it any more."""
        if turn.done() and not turn.cancelled():
            self._running -= 1
            self._call_next()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _call_next(self) -> None:
        while self._waiting and self._running < self._rules().lanes:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self._running += 1
                turn.set_result(None)


def _overloaded() -> ResourceExhausted:
    return ResourceExhausted("OVERLOADED", "too many searches at once", retry_after=RETRY_AFTER)
