"""When the claimer looks, and when it does not."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import Unavailable
from mesh.tasks import TaskSet
from services.bot_manager.domain.model import AttemptOutcome
from services.bot_manager.publishing.claimer import BATCH, Claimer
from services.bot_manager.publishing.settings import Publish, PublishSettings
from services.bot_manager.store.ports import Claim, PostLedger
from tests.fakes.clock import START, ManualClock

SECOND = timedelta(seconds=1)


class DueTimes:
    """The part of the ledger that the claimer uses: only when posts are due."""

    def __init__(self) -> None:
        self.due: list[datetime] = []
        self.claimed: list[datetime] = []
        self.looks = 0
        self.held = 0
        self.away = False
        self.limits: list[int] = []

    async def claim_due(self, worker: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Claim]:
        self.looks += 1
        self.limits.append(limit)
        if self.away:
            raise Unavailable("DATABASE_UNAVAILABLE", "away")
        ready = sorted(time for time in self.due if time <= now)[:limit]
        for time in ready:
            self.due.remove(time)
            self.claimed.append(now)
        return [Claim(f"post-{number}", "bot", 1) for number, _ in enumerate(ready)]

    async def next_due(self, now: datetime) -> datetime | None:
        return min((time for time in self.due if time > now), default=None)

    async def held_count(self) -> int:
        return self.held

    async def earlier_outcomes(
        self, post_id: str, part_index: int, before: int
    ) -> Sequence[AttemptOutcome | None]:
        return []


class Rig:
    """A claimer on a clock that is turned by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ledger = DueTimes()
        self.connected = True
        settings = PublishSettings.of(Publish.of())
        ledger: PostLedger = self.ledger  # type: ignore[assignment]  # the two methods that the claimer uses
        self.claimer = Claimer(ledger, self.ledger, "w", lambda: settings, lambda: self.connected, self.clock)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    async with TaskSet() as tasks:
        tasks.spawn(rig.claimer.run(), name="claimer")
        await rig.clock.advance(timedelta())
        yield rig


async def test_a_known_due_time_is_met_to_the_moment(rig: Rig) -> None:
    """A tick of a second must not make every post half a second late."""
    rig.ledger.due = [START + timedelta(seconds=1.3)]
    await rig.clock.advance(3 * SECOND)
    assert rig.ledger.claimed == [START + timedelta(seconds=1.3)]


async def test_a_wake_looks_at_once(rig: Rig) -> None:
    """Somebody who presses "publish now" waits for nobody's tick."""
    await rig.clock.advance(SECOND / 10)
    rig.ledger.due = [rig.clock.now()]
    rig.claimer.wake()
    await rig.clock.advance(timedelta())
    assert rig.ledger.claimed == [START + SECOND / 10]


async def test_a_full_batch_is_followed_by_the_next_without_a_pause(rig: Rig) -> None:
    """Ten thousand posts due in the same second must not take twenty ticks."""
    rig.ledger.due = [START] * (2 * BATCH + 1)
    rig.claimer.wake()
    await rig.clock.advance(timedelta())
    assert len(rig.ledger.claimed) == 2 * BATCH + 1


async def test_nothing_is_claimed_while_actions_cannot_leave(rig: Rig) -> None:
    """Leases would end in the outbox again and again, and fill it."""
    rig.connected = False
    looks = rig.ledger.looks
    rig.ledger.due = [START]
    await rig.clock.advance(10 * SECOND)
    assert rig.ledger.looks == looks
    rig.connected = True
    await rig.clock.advance(SECOND)
    assert len(rig.ledger.claimed) == 1


async def test_no_more_is_claimed_than_workers_may_hold(rig: Rig) -> None:
    """What nobody can send soon is better left where an operator sees it as waiting."""
    rig.ledger.held = 2000
    rig.ledger.due = [START] * 5
    await rig.clock.advance(SECOND)
    assert rig.ledger.claimed == []
    rig.ledger.held = 1998
    await rig.clock.advance(SECOND / 5)
    assert len(rig.ledger.claimed) == 5
    assert max(rig.ledger.limits) <= 500
    assert 2 in rig.ledger.limits


async def test_a_database_that_comes_back_is_found(rig: Rig) -> None:
    """A claimer that dies of an outage is a post that silently never fires."""
    rig.ledger.away = True
    rig.ledger.due = [datetime(2025, 1, 1, tzinfo=UTC)]
    await rig.clock.advance(5 * SECOND)
    rig.ledger.away = False
    await rig.clock.advance(SECOND)
    assert len(rig.ledger.claimed) == 1
