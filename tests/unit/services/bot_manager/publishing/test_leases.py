"""Secrets in memory: shared while they last, forgotten when they end."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from mesh.errors import FailedPrecondition, Unavailable
from mesh.tasks import TaskSet
from services.bot_manager.publishing.leases import Leases
from services.bot_manager.x.port import OAUTH1_FIELDS
from tests.fakes.clock import ManualClock
from tests.unit.services.bot_manager.publishing.secrets import FakeSecrets
from vivesphere.secure_bot_data.v1 import bot_secret_pb2

BOT = "0190c6a1-0000-7000-8000-000000000001"
NEED = timedelta(seconds=11)


@pytest.fixture
def secrets() -> FakeSecrets:
    secrets = FakeSecrets()
    secrets.put(BOT, {name: f"canary-{name}" for name in OAUTH1_FIELDS})
    return secrets


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def leases(secrets: FakeSecrets, clock: ManualClock) -> AsyncIterator[Leases]:
    async with TaskSet() as tasks:
        yield Leases(secrets, tasks, clock)


async def test_hundreds_of_posts_of_a_bot_share_one_lease(leases: Leases, secrets: FakeSecrets) -> None:
    """The lender allows a bot 100 leases, and writes each to a trail that people read."""
    got = await asyncio.gather(*(leases.get(BOT, "publish", NEED) for _ in range(300)))
    assert secrets.asked == [BOT]
    assert {one.version for one in got} == {1}
    assert got[0].credentials.access_token.reveal() == "canary-access_token"


async def test_a_lease_that_would_end_during_the_call_is_renewed(
    leases: Leases, secrets: FakeSecrets, clock: ManualClock
) -> None:
    """Values may not be used past the end of their lease."""
    first = await leases.get(BOT, "publish", NEED)
    await clock.advance(timedelta(seconds=50))
    second = await leases.get(BOT, "publish", NEED)
    assert len(secrets.asked) == 2
    assert second.end - clock.monotonic() > NEED.total_seconds() > first.end - clock.monotonic()


async def test_a_long_call_gets_a_lease_that_outlasts_it(leases: Leases, clock: ManualClock) -> None:
    """Otherwise a long time limit would keep every post from being sent."""
    need = timedelta(seconds=61)
    assert (await leases.get(BOT, "publish", need)).end - clock.monotonic() > need.total_seconds()


async def test_forgotten_credentials_are_asked_for_anew(leases: Leases, secrets: FakeSecrets) -> None:
    """After SetCredentials the old ones must not be used for another minute."""
    await leases.get(BOT, "publish", NEED)
    secrets.put(BOT, {name: f"new-{name}" for name in OAUTH1_FIELDS})
    leases.forget(BOT)
    assert (await leases.get(BOT, "publish", NEED)).version == 2


async def test_forgetting_while_a_lease_is_on_its_way_does_not_keep_it(
    leases: Leases, secrets: FakeSecrets
) -> None:
    """The answer to a question asked before the change is already old."""
    waiting = asyncio.ensure_future(leases.get(BOT, "publish", NEED))
    await asyncio.sleep(0)
    leases.forget(BOT)
    await waiting
    await leases.get(BOT, "publish", NEED)
    assert len(secrets.asked) == 2


async def test_a_refusal_is_shared_and_not_remembered(leases: Leases, secrets: FakeSecrets) -> None:
    """A vault that is away for a second must not be asked by every post one after the other, nor for ever be thought away."""
    secrets.fail_next(Unavailable("VAULT_UNAVAILABLE", "sealed"))
    results = await asyncio.gather(
        *(leases.get(BOT, "publish", NEED) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(result, Unavailable) for result in results)
    assert (await leases.get(BOT, "publish", NEED)).version == 1
    assert len(secrets.asked) == 2


async def test_nothing_to_lend_is_said_as_such(leases: Leases, secrets: FakeSecrets) -> None:
    """Missing, of another kind, incomplete: waiting will not help, a person has to act."""
    with pytest.raises(FailedPrecondition) as missing:
        await leases.get("0190c6a1-0000-7000-8000-000000000002", "publish", NEED)
    secrets.put(BOT, {"consumer_key": "canary"})
    with pytest.raises(FailedPrecondition) as incomplete:
        await leases.get(BOT, "publish", NEED)
    secrets.kind = bot_secret_pb2.SECRET_KIND_X_APP
    with pytest.raises(FailedPrecondition) as other:
        await leases.get(BOT, "publish", NEED)
    assert {error.value.reason for error in (missing, incomplete, other)} == {"CREDENTIALS_MISSING"}
    assert "canary" not in str(incomplete.value)


async def test_what_has_ended_is_swept_out(leases: Leases, clock: ManualClock) -> None:
    """A secret nobody uses any more has no business in memory."""
    got = await leases.get(BOT, "publish", NEED)
    await clock.advance(timedelta(minutes=2))
    leases.sweep()
    assert BOT not in leases._held
    assert "canary" not in repr(got)
