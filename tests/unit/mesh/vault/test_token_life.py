"""The token and the back-off over time that a test turns by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from mesh.errors import Unavailable
from mesh.vault import VaultClient, VaultState
from mesh.vault.backoff import FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS, Backoff
from tests.fakes.clock import ManualClock
from tests.unit.mesh.vault.conftest import NewClient
from tests.unit.mesh.vault.scripted import LOGIN, Reply, ScriptedVault, login_reply

RENEW = "/v1/auth/token/renew-self"
LIFE = 600


@asynccontextmanager
async def running(client: VaultClient) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.run())
        try:
            yield
        finally:
            task.cancel()


async def turn(clock: ManualClock, seconds: float) -> None:
    """Turns the clock in ticks of the loop; each waits until the loop, whose calls take real time, sleeps again."""
    for _ in range(round(seconds * 2)):
        for _ in range(2000):
            if clock.sleeping:
                break
            await asyncio.sleep(0.001)
        await clock.advance(timedelta(seconds=0.5))
    for _ in range(2000):
        if clock.sleeping:
            return
        await asyncio.sleep(0.001)


def paths(vault: ScriptedVault) -> list[str]:
    return [seen.path for seen in vault.seen]


async def test_the_token_is_renewed_at_two_thirds_of_its_life(
    vault: ScriptedVault, new_client: NewClient
) -> None:
    """Early enough for a vault that is away for a while, late enough to be cheap."""
    clock = ManualClock()
    vault.script = lambda _: login_reply(life=LIFE)
    client = new_client(clock=clock, jitter=lambda: 0.0)
    async with running(client):
        await turn(clock, LIFE * 2 / 3 - 2)
        assert paths(vault) == [LOGIN]
        await turn(clock, 4)
        assert paths(vault) == [LOGIN, RENEW]
        await turn(clock, LIFE * 2)
        assert paths(vault).count(LOGIN) == 1
        assert client.state is VaultState.READY


async def test_renewals_that_get_short_end_in_a_new_login(
    vault: ScriptedVault, new_client: NewClient
) -> None:
    """Near its maximum life a token is renewed for seconds only; following that would end in a renewal per tick."""
    clock = ManualClock()
    vault.script = lambda _: login_reply(life=30)
    vault.login = lambda: login_reply(life=LIFE)
    async with running(new_client(clock=clock)):
        await turn(clock, LIFE * 2 / 3 + 1)
        assert paths(vault) == [LOGIN, RENEW, LOGIN]


async def test_a_refused_renewal_ends_in_a_new_login(vault: ScriptedVault, new_client: NewClient) -> None:
    """A policy without renew-self must not end in an expired token."""
    clock = ManualClock()
    vault.script = lambda _: Reply(403, {"errors": ["permission denied"]})
    async with running(new_client(clock=clock)):
        await turn(clock, LIFE * 0.7)
        assert paths(vault) == [LOGIN, RENEW, LOGIN]


async def test_a_token_past_its_life_is_not_sent(vault: ScriptedVault, new_client: NewClient) -> None:
    """Without the background loop, for example after the machine slept."""
    clock = ManualClock()
    client = new_client(clock=clock)
    await client.kv("bots").list()
    await clock.advance(timedelta(seconds=LIFE))
    assert client.state is not VaultState.READY
    await client.kv("bots").list()
    assert paths(vault).count(LOGIN) == 2


async def test_refused_logins_become_rare(vault: ScriptedVault, new_client: NewClient) -> None:
    """Neither the loop nor any number of callers hammers a vault that said no."""
    clock = ManualClock()
    vault.login = lambda: Reply(400, {"errors": ["invalid role or secret ID"]})
    client = new_client(clock=clock, jitter=lambda: 0.99)
    async with running(client):
        for _ in range(30):
            await turn(clock, 1)
            with pytest.raises(Unavailable):
                await client.kv("bots").list()
    assert client.state is VaultState.DENIED
    assert 6 <= len(vault.seen) <= 14


async def test_health_recovers_without_traffic(vault: ScriptedVault, new_client: NewClient) -> None:
    """A service that nobody calls while its vault is sealed must still report when that is over."""
    clock = ManualClock()
    sealed = Reply(503, {"errors": ["Vault is sealed"]})
    client = new_client(clock=clock)
    async with running(client):
        await turn(clock, 1)
        vault.script = lambda _: sealed
        with pytest.raises(Unavailable):
            await client.kv("bots").list()
        await turn(clock, 5)
        states = [client.state]
        vault.script = lambda _: Reply(body={"data": {}})
        await turn(clock, MAX_DELAY_SECONDS + 1)
        states.append(client.state)
    assert states == [VaultState.SEALED, VaultState.READY]


async def test_calls_to_a_vault_that_went_away_fail_without_being_sent(
    vault: ScriptedVault, new_client: NewClient
) -> None:
    """A time-out each would hold every thread and every caller."""
    clock = ManualClock()
    client = new_client(clock=clock)
    vault.script = lambda _: Reply(503, {})
    for _ in range(20):
        with pytest.raises(Unavailable):
            await client.kv("bots").list()
    assert len(vault.requests()) == 3
    await clock.advance(timedelta(seconds=MAX_DELAY_SECONDS))
    vault.script = lambda _: Reply(body={"data": {"keys": ["a"]}})
    assert await client.kv("bots").list() == ["a"]


async def test_backoff_doubles_per_failed_trial_and_is_bounded() -> None:
    """Late failures of calls that were already under way do not make the wait longer."""
    clock = ManualClock()
    backoff = Backoff(clock, lambda: 1.0)
    waits = []
    for _ in range(9):
        assert backoff.admit() is None
        backoff.failed()
        for _ in range(8):
            backoff.failed()
        waits.append(backoff.left.total_seconds())
        assert backoff.admit() == backoff.left
        await clock.advance(backoff.left)
    expected = [min(FIRST_DELAY_SECONDS * 2**n, MAX_DELAY_SECONDS) for n in range(9)]
    assert waits == pytest.approx(expected)
    assert backoff.admit() is None
    assert backoff.admit() is not None
    backoff.succeeded()
    assert backoff.admit() is None
