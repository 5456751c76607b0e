"""Reads the counters of a bot's published posts from X, 100 posts a call, and stores them as readings.

X gives only what is true now, so a series is what was read over time. Clicks it tells the account for 30 days; later readings
repeat the last ones and are marked so (`private=False`). Posts that X says are gone are marked and not asked for again. Each call costs
money, so nothing is read here unless somebody asks or `statistics/cadence.py` says that it is time.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from services.bot_manager.domain.limits import LOOK_UP, CallCount, free_of_charge
from services.bot_manager.domain.model import Counters, Reading
from services.bot_manager.publishing.leases import Leases
from services.bot_manager.store.ports import MetricStore, PublishedPart
from services.bot_manager.x.port import METRICS_BATCH, XMetrics, XMetricsRead, XPort

LOOK_BACK: Final = timedelta(days=30)
"""Posts older than that change little, and X no longer tells their clicks."""
MAX_PARTS: Final = 1000
"""Most posts read for one request, the newest first."""
NEED: Final = timedelta(seconds=20)


class Fetcher:
    """`leases` lends the bot's credentials, `count` is told of each call."""

    def __init__(
        self,
        metrics: MetricStore,
        x: XPort,
        leases: Leases,
        clock: Clock,
        count: CallCount = free_of_charge,
    ) -> None:
        self._metrics = metrics
        self._x = x
        self._leases = leases
        self._clock = clock
        self._count = count

    async def refresh(self, bot_id: str, post_ids: Sequence[str] = ()) -> int:
        """Read the bot's posts of the last 30 days, or only the given ones; how many parts were read.

        What was read before a failure stays. Raises the MeshError of the record, of the secret's lease, or of X (`x/port.py`).
        """
        since = self._clock.now() - LOOK_BACK
        parts = await self._metrics.published_parts(bot_id, since, MAX_PARTS, post_ids)
        count = 0
        for start in range(0, len(parts), METRICS_BATCH):
            count += await self._read(bot_id, parts[start : start + METRICS_BATCH])
        if parts:
            logger.bind(bot_id=bot_id, count=count).info("metrics read")
        return count

    async def read(self, bot_id: str, parts: Sequence[PublishedPart]) -> int:
        """Read these, at most METRICS_BATCH; how many X told. Raises as `refresh` does."""
        return await self._read(bot_id, parts)

    async def _read(self, bot_id: str, parts: Sequence[PublishedPart]) -> int:
        ids = [part.x_post_id for part in parts]
        read = await self._leases.call(
            bot_id, "read metrics", NEED, lambda credentials: self._x.get_metrics(credentials, ids)
        )
        self._count(bot_id, LOOK_UP, len(read.metrics))
        told, untold = self._readings(parts, read, True), self._readings(parts, read, False)
        if told:
            await self._metrics.add(told, private=True)
        if untold:
            await self._metrics.add([await self._carry_clicks(one) for one in untold], private=False)
        if read.gone:
            await self._metrics.mark_gone(sorted(read.gone), self._clock.now())
        return len(read.metrics)

    async def _carry_clicks(self, reading: Reading) -> Reading:
        """With the clicks of the reading before, since X no longer tells them."""
        before = await self._metrics.latest_of_post(reading.post_id)
        last = next((one.counters for one in before if one.x_post_id == reading.x_post_id), None)
        if last is None:
            return reading
        clicks = {"url_clicks": last.url_clicks, "profile_clicks": last.profile_clicks}
        return replace(reading, counters=replace(reading.counters, **clicks))

    def _readings(self, parts: Sequence[PublishedPart], read: XMetricsRead, private: bool) -> list[Reading]:
        now = self._clock.now()
        return [
            Reading(part.post_id, part.x_post_id, now, _counters(found))
            for part in parts
            if (found := read.metrics.get(part.x_post_id)) is not None and found.private is private
        ]


def _counters(found: XMetrics) -> Counters:
    return Counters(
        impressions=found.impressions,
        likes=found.likes,
        reposts=found.reposts,
        replies=found.replies,
        quotes=found.quotes,
        bookmarks=found.bookmarks,
        url_clicks=found.url_clicks,
        profile_clicks=found.profile_clicks,
    )
