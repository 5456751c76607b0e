"""Two gateways for all tests here: one as it comes, one with short patience and few places."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.gateway.hostile.support import Gateway, gateway

SHORT = {
    "header_timeout_seconds": 1,
    "body_timeout_seconds": 1,
    "idle_timeout_seconds": 1.5,
    "write_timeout_seconds": 1,
}


@pytest.fixture(scope="session")
async def attacked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway with the limits it comes with."""
    async with gateway(tmp_path_factory.mktemp("attacked")) as running:
        yield running


@pytest.fixture(scope="session")
async def impatient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that waits for about a second wherever it waits."""
    async with gateway(tmp_path_factory.mktemp("impatient"), SHORT) as running:
        yield running
