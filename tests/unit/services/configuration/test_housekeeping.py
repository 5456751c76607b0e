"""The loop that compacts: step by step while there is something to do, then now and again."""

import asyncio
from datetime import datetime, timedelta

from mesh.errors import Unavailable
from services.configuration.domain.retention import Retention
from services.configuration.housekeeping import BREATH, INTERVAL, Housekeeping
from tests.fakes.clock import ManualClock

KEEP = Retention(100, timedelta(days=1))


class Steps:
    """Answers steps as a test wants, and notes when each was asked for."""

    def __init__(self, *answers: bool | Unavailable) -> None:
        self.answers = list(answers)
        self.asked: list[datetime] = []

    async def step(self, retention: Retention, now: datetime) -> bool:
        """See the port."""
        assert retention is KEEP
        self.asked.append(now)
        answer = self.answers.pop(0) if self.answers else False
        if isinstance(answer, Unavailable):
            raise answer
        return answer


async def test_steps_follow_each_other_while_there_is_something_to_do() -> None:
    """With a breath between them for writers; then the loop waits, also when the database is away."""
    clock = ManualClock()
    steps = Steps(True, True, False, Unavailable("DATABASE_UNAVAILABLE", "away"), False)
    running = asyncio.create_task(Housekeeping(steps, lambda: KEEP, clock).run())
    await clock.advance(2 * BREATH + 2 * INTERVAL)
    start = steps.asked[0]
    assert [moment - start for moment in steps.asked] == [
        timedelta(),
        BREATH,
        2 * BREATH,
        2 * BREATH + INTERVAL,
        2 * BREATH + 2 * INTERVAL,
    ]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
