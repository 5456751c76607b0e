"""One NATS server for the session, one connected `Messaging` for a test."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from mesh.messaging import Messaging
from mesh.tasks import Backoff, TaskSet
from tests.integration.mesh.messaging.server import NatsServer

QUICK = Backoff(first=timedelta(milliseconds=20), most=timedelta(milliseconds=100))


@pytest.fixture(scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def tasks() -> AsyncIterator[TaskSet]:
    async with asyncio.timeout(30), TaskSet() as tasks:
        yield tasks


@pytest.fixture
async def messaging(nats_server: NatsServer, tasks: TaskSet) -> Messaging:
    messaging = Messaging("tester", nats_server.url, backoff=QUICK)
    tasks.spawn(messaging.run(), name="messaging")
    await messaging.wait_connected()
    return messaging
