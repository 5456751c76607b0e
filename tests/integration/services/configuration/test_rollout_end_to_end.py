"""A roll-out with the product's own client at the other end: it takes what is staged, reports, refuses, and lets go."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from cli.embedded import EmbeddedMesh
from mesh.clock import SystemClock
from mesh.configuration import ConfigurationWatch, SettingDefinition
from tests.integration.services.configuration.operating import INSTANCE, LIMIT, SLOW, World, operating
from vivesphere.configuration.v1 import setting_change_pb2


@pytest.fixture
async def world(engines: EmbeddedMesh) -> AsyncIterator[World]:
    """The service on an empty history."""
    async with operating(engines) as world:
        yield world


async def _until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_the_client_uses_what_is_staged_and_its_failures_revert_it(world: World) -> None:
    """From the value to the guard's sentence and back, with nobody in between."""
    totals = [1000, 500]
    watch = ConfigurationWatch(
        "bot_manager", INSTANCE, world.own, SystemClock(), totals=lambda: (totals[0], totals[1])
    )
    watch.define([LIMIT])
    running = asyncio.create_task(watch.run())
    await _until(lambda: watch.revision > 0)
    change_id = await world.ask_within(9, SLOW)
    await _until(lambda: watch.value(LIMIT) == 9)
    totals[:] = [1100, 550]
    change = await world.state(change_id, setting_change_pb2.SETTING_CHANGE_STATE_REVERTED)
    assert "50 of 100 calls" in change.outcome
    await _until(lambda: watch.value(LIMIT) == 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_client_that_cannot_take_the_value_reverts_it_for_all(world: World) -> None:
    """An older release keeps what it had and says so; nobody else gets the value."""
    strict = SettingDefinition[int](LIMIT.key, 3, {"type": "integer", "maximum": 50}, "Old law.")
    watch = ConfigurationWatch("bot_manager", INSTANCE, world.own, SystemClock())
    watch.define([strict])
    running = asyncio.create_task(watch.run())
    await _until(lambda: watch.revision > 0)
    # The older release has declared its own law; the newer one's counts.
    change_id = await world.ask_within(40, SLOW)
    await _until(lambda: watch.value(strict) == 40)
    await world.reject(change_id)
    await _until(lambda: watch.value(strict) == 3)
    change_id = await world.ask_within(500, SLOW)
    change = await world.state(change_id, setting_change_pb2.SETTING_CHANGE_STATE_REVERTED)
    assert change.outcome.startswith(f"bot_manager {INSTANCE} refused {LIMIT.key}: ")
    assert watch.value(strict) == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
