"""The outbox on real PostgreSQL and NATS: what was committed leaves, once; what was rolled back never does."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from mesh.errors import Unavailable
from mesh.ids import new_id
from mesh.outbox import Outbox, first_delivery, outbox
from mesh.tasks import TaskSet
from tests.fakes.engines import database_of


class Away:
    """A publisher that fails until it is told not to, and remembers what it sent."""

    def __init__(self) -> None:
        self.failing = True
        self.sent: list[tuple[str, str, bytes]] = []

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(seconds=1),
    ) -> None:
        """See mesh.outbox.Publisher."""
        if self.failing:
            raise Unavailable("MESSAGING_UNAVAILABLE", "away")
        self.sent.append((message_id, subject, payload))


async def roll_back(database: Database, box: Outbox) -> None:
    async with database.transaction() as connection:
        await box.add(connection, "events.configuration.lost", b"lost")
        raise ZeroDivisionError


async def test_what_was_committed_leaves_once_and_nothing_else(engines: EmbeddedMesh) -> None:
    """The message and the fact it tells of stand or fall together, also while NATS is away for a time."""
    publisher = Away()
    async with database_of(engines, "configuration") as database:
        box = Outbox(database, publisher)
        async with TaskSet() as tasks:
            tasks.spawn(box.relay(), name="relay")
            async with database.transaction() as connection:
                kept = await box.add(connection, "events.configuration.kept", b"kept")
            with pytest.raises(ZeroDivisionError):
                await roll_back(database, box)
            assert await box.oldest_age_seconds() >= 0
            publisher.failing = False
            async with asyncio.timeout(30):
                while kept not in {sent[0] for sent in publisher.sent}:
                    await asyncio.sleep(0.05)
                while await box.oldest_age_seconds() > 0:
                    await asyncio.sleep(0.05)
        async with database.read() as connection:
            waiting = await connection.scalar(select(func.count()).where(outbox.c.publish_time.is_(None)))
    assert waiting == 0
    assert [sent for sent in publisher.sent if sent[0] == kept] == [
        (kept, "events.configuration.kept", b"kept")
    ]
    assert not any(payload == b"lost" for _, _, payload in publisher.sent)


async def test_a_message_that_comes_twice_is_new_once(engines: EmbeddedMesh) -> None:
    """JetStream delivers at least once; effects must not be repeated."""
    message = new_id()
    async with database_of(engines, "configuration") as database:
        seen = []
        for _ in range(2):
            async with database.transaction() as connection:
                seen.append(await first_delivery(connection, "test", message))
    assert seen == [True, False]
