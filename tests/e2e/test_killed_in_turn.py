"""Kill -9 in turn under load: the logging service, NATS, PostgreSQL. What was acknowledged is there afterwards, once.

Two lanes are under load: batches of records published to JetStream, acknowledged by it, and audited calls, acknowledged by their answer.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from cli.embedded import EmbeddedMesh
from cli.rest import Api, ApiError
from mesh.errors import MeshError
from mesh.ids import new_id
from mesh.tasks import TaskSet
from tests.e2e.conftest import PASSWORD, Running
from tests.fakes.engines import messaging_of
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2

ROUNDS = 20 if os.environ.get("VIVESPHERE_TEST_PROFILE") == "long" else 1
BATCH_RECORDS = 40
PROGRESS = 5
"""So many acknowledgements on each lane between two kills."""
PATIENCE_SECONDS = 90
CREATE_BOT = "/vivesphere.bot_manager.v1.BotService/CreateBot"
CREATED = "SELECT handle FROM (SELECT request->'bot'->>'handle' AS handle FROM audit_events WHERE outcome = 'OK' AND action = %s) AS made WHERE handle ~ '^k[0-9a-f]{14}$'"
"""Other tests of the mesh make bots too, under names of their own."""


@dataclass(slots=True)
class Load:
    """What was acknowledged so far: records by id, created bots by handle."""

    mark: str = field(default_factory=new_id)
    records: set[str] = field(default_factory=set)
    handles: set[str] = field(default_factory=set)

    async def publish(self, running: Running) -> None:
        """Publish batches for ever; one that is not acknowledged goes again as it is."""
        async with messaging_of(running.mesh, "bot_manager") as messaging:
            while True:
                batch = self._batch()
                payload = batch.SerializeToString()
                while True:
                    try:
                        await messaging.publish("logs.bot_manager", payload, message_id=batch.id)
                        break
                    except MeshError:
                        await asyncio.sleep(0.2)
                self.records.update(record.id for record in batch.records)
                await asyncio.sleep(0.02)

    async def call(self, running: Running) -> None:
        """Create bots for ever; an answer that does not come is no acknowledgement."""
        with Api(running.url) as api:
            await asyncio.to_thread(api.sign_in, "admin", PASSWORD)
            while True:
                handle = f"k{new_id().replace('-', '')[-14:]}"
                try:
                    await asyncio.to_thread(api.post, "/api/v1/bots", {"handle": handle})
                    self.handles.add(handle)
                except (ApiError, httpx.HTTPError):
                    await asyncio.sleep(0.2)

    def _batch(self) -> log_batch_pb2.LogBatch:
        batch = log_batch_pb2.LogBatch(
            id=new_id(), service="bot_manager", instance=self.mark, first_sequence=1
        )
        for _ in range(BATCH_RECORDS):
            record = batch.records.add(
                id=new_id(),
                category=log_record_pb2.LOG_CATEGORY_DEBUG,
                severity=log_record_pb2.SEVERITY_INFO,
                body="under load",
            )
            record.time.GetCurrentTime()
        return batch


@asynccontextmanager
async def under_load(running: Running) -> AsyncIterator[Load]:
    """Both lanes, until the end of the block."""
    load = Load()
    async with TaskSet() as tasks:
        tasks.spawn(load.publish(running), name="publish")
        tasks.spawn(load.call(running), name="call")
        yield load


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for it. Fails with `what` when it does not come."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"waited in vain for {what}")


async def progress(load: Load) -> None:
    """Wait until both lanes have got some further acknowledgements."""
    records, handles = len(load.records), len(load.handles)

    async def further() -> bool:
        return (
            len(load.records) >= records + PROGRESS * BATCH_RECORDS
            and len(load.handles) >= handles + PROGRESS
        )

    await until(further, "acknowledgements")


async def kill(mesh: EmbeddedMesh, name: str) -> None:
    """SIGKILL, and wait until the supervisor has started it again."""
    [child] = [child for child in mesh.supervisor.children if child.spec.name == name]
    killed = child.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)

    async def again() -> bool:
        return child.pid not in (None, killed) and await child.spec.ready()

    await until(again, f"{name} to come back")


@contextmanager
def rows(mesh: EmbeddedMesh) -> Iterator[Callable[[str, str], list[str]]]:
    """Asks the database for the first column of a query with one parameter."""
    with mesh.admin.connect() as connection:
        connection.execute("SET search_path TO logging")
        yield lambda query, value: [str(row[0]) for row in connection.execute(query.encode(), [value])]


async def test_killed_in_turn_under_load_nothing_acknowledged_is_lost_and_nothing_doubled(
    running: Running,
) -> None:
    """Also the trail is whole afterwards."""
    async with under_load(running) as load:
        await progress(load)
        for _ in range(ROUNDS):
            for name in ("logging", "nats", "postgres"):
                await kill(running.mesh, name)
                await progress(load)
    with rows(running.mesh) as select:

        async def stored() -> bool:
            found = select("SELECT id FROM records WHERE instance = %s", load.mark)
            done = select(CREATED, CREATE_BOT)
            return load.records <= set(found) and load.handles <= set(done)

        await until(stored, "everything that was acknowledged")
        found = select("SELECT id FROM records WHERE instance = %s", load.mark)
        assert len(found) == len(set(found))
        done = select(CREATED, CREATE_BOT)
        assert len(done) == len(set(done))
    with Api(running.url) as api:
        await asyncio.to_thread(api.sign_in, "admin", PASSWORD)
        events = await asyncio.to_thread(api.get, "/api/v1/audit/events", pageSize=1000)
        sequences = [event["sequence"] for event in events["events"]]
        assert sequences == list(range(sequences[0], sequences[0] - len(sequences), -1))
    await asyncio.to_thread(running.wait_ready)
