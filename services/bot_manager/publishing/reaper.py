"""Puts right what was left behind: leases that ended, posts whose time has passed, secrets and holds that are over.

A lease that ends before the intent gives the post back; one that ends after it makes the outcome UNKNOWN. Runs in every replica.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.context import background_call
from mesh.errors import MeshError
from services.bot_manager.domain.model import PostState
from services.bot_manager.publishing import metrics
from services.bot_manager.store.ports import PostLedger

INTERVAL: Final = timedelta(seconds=2)
BATCH: Final = 500


class Reaper:
    """`sweep` forgets what this process holds in memory too long."""

    def __init__(self, ledger: PostLedger, sweep: Callable[[], None], clock: Clock) -> None:
        self._ledger = ledger
        self._sweep = sweep
        self._clock = clock

    async def run(self) -> None:
        """Reap until cancelled."""
        while True:
            self._sweep()
            try:
                with background_call("bot_manager/reap"):
                    more = await self.reap()
            except MeshError as error:
                logger.bind(reason=error.reason).warning("reaping waits")
                more = False
            if not more:
                await self._clock.sleep(INTERVAL)

    async def reap(self) -> bool:
        """One round; whether there may be more to do at once."""
        ended = await self._ledger.reap_leases(self._clock.now(), BATCH)
        for post_id, state in ended.items():
            metrics.lost_leases.labels(state.value).inc()
            log = logger.bind(post_id=post_id, state=state.value)
            log.warning("post outcome unknown" if state is PostState.UNKNOWN else "post lease ended")
        missed = await self._ledger.miss_late(self._clock.now(), BATCH)
        for post_id in missed:
            logger.bind(post_id=post_id).warning("post missed")
        return BATCH in (len(ended), len(missed))
