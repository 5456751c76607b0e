"""Counts calls to X other than posts: what they cost, and what they use of a window.

Counted in memory and written every second and at the end, so that a read costs no round trip. A process that is killed forgets up to a
second of it; X's own bill is the truth. A budget does not stop these calls, but what they cost counts against it for posts.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple, Protocol

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError
from services.bot_manager.domain import limits
from services.bot_manager.domain.money import PriceTable

INTERVAL: Final = timedelta(seconds=1)
MOST_KEYS: Final = 10_000
"""Pairs of bot and operation counted at once; beyond that, while the database is away for long, calls are not counted."""


class Called(NamedTuple):
    """One bot's calls of one operation."""

    bot_id: str
    operation: str


class Count(NamedTuple):
    """`calls`, and how many `units` X gave in them."""

    calls: int
    units: int


PRICE: Final[Mapping[str, Callable[[PriceTable], int]]] = {
    limits.OWN_POSTS: lambda prices: prices.owned_read,
    limits.LOOK_UP: lambda prices: prices.read,
    limits.WHO_AM_I: lambda prices: prices.user_read,
    limits.DELETE: lambda prices: prices.delete,
    limits.UPLOAD: lambda prices: 0,
    limits.ALT_TEXT: lambda prices: prices.media_metadata,
}
"""What one unit of an operation costs."""


class Till(Protocol):
    """Where counts are written."""

    async def add(self, counts: Mapping[Called, Count]) -> None:
        """All of them or none. Raises MeshError."""
        ...


class Counter:
    """See the module. Run `run` as a loop, and `flush` before the database is closed."""

    def __init__(self, till: Till, clock: Clock) -> None:
        self._till = till
        self._clock = clock
        self._counts: dict[Called, Count] = defaultdict(lambda: Count(0, 0))

    def count(self, bot_id: str, operation: str, units: int, calls: int = 1) -> None:
        """Note calls that were made. `operation` is one of PRICE, `units` are what X charges for: posts or users read, texts stored."""
        key = Called(bot_id, operation)
        if key not in self._counts and len(self._counts) >= MOST_KEYS:
            logger.bind(operation=operation).warning("call not counted")
            return
        known = self._counts[key]
        self._counts[key] = Count(known.calls + calls, known.units + units)

    async def run(self) -> None:
        """Write every second until cancelled."""
        while True:
            await self._clock.sleep(INTERVAL)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted. What cannot be written is kept for the next time."""
        counts, self._counts = dict(self._counts), defaultdict(lambda: Count(0, 0))
        if not counts:
            return
        try:
            await self._till.add(counts)
        except MeshError as error:
            logger.bind(reason=error.reason).warning("calls not counted yet")
            for key, count in counts.items():
                known = self._counts[key]
                self._counts[key] = Count(known.calls + count.calls, known.units + count.units)
