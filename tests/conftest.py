"""Shared by all tests: one set of real engines per run, in a directory of its own, on free ports; gone at the end.

`engines` are PostgreSQL, NATS and OpenBao, set up as for production. Everything that needs them asks for this fixture, so a run of
unit tests alone starts nothing.

VIVESPHERE_TEST_PROFILE=long makes property tests, and those marked `long`, try far more and other values each time (`make fuzz`). The
short form tries the same every time, since it decides what lands.
"""

import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from cli.embedded import EmbeddedMesh

settings.register_profile("short", max_examples=100, derandomize=True, deadline=None)
settings.register_profile(
    "long", max_examples=3_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("VIVESPHERE_TEST_PROFILE", "short"))


@pytest.fixture(scope="session")
async def engines(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedMesh]:
    """The three engines, without fsync: tests are about behaviour, not about power cuts."""
    async with EmbeddedMesh(tmp_path_factory.mktemp("mesh"), fsync=False) as mesh:
        yield mesh
