"""A real sandbox on a free port for each test."""

import random
from collections.abc import AsyncIterator

import aiohttp
import pytest

from sandbox.app import running
from sandbox.settings import Settings
from tests.unit.sandbox.clients import FakeClock, X


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def x(clock: FakeClock, session: aiohttp.ClientSession) -> AsyncIterator[X]:
    async with running(Settings(port=0), clock, random.Random(7)) as url:  # noqa: S311  # repeatable chance
        yield X(url, clock, session)
