"""Log records on a real stream: through an outage of NATS nothing is lost, nothing is stored twice, the order stays."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from mesh.messaging import Messaging
from mesh.tasks import TaskSet
from mesh.telemetry.compression import decompress
from mesh.telemetry.logs import redact_record
from mesh.telemetry.shipper import LogShipper
from tests.integration.mesh.messaging.server import NatsServer, admin, make_stream
from vivesphere.logging.v1 import log_batch_pb2


@pytest.fixture(autouse=True)
def clean_loguru() -> Iterator[None]:
    logger.remove()
    logger.configure(patcher=redact_record)
    yield
    logger.remove()
    logger.configure(patcher=lambda _: None)


async def stored(server: NatsServer) -> list[str]:
    client, js = await admin(server)
    count = (await js.stream_info("LOGS")).state.messages
    messages = [await js.get_msg("LOGS", n + 1) for n in range(count)]
    batches = [
        log_batch_pb2.LogBatch.FromString(decompress(message.data or b"", message.headers or {}))
        for message in messages
    ]
    await client.close()
    return [record.body for batch in batches for record in batch.records if record.body.startswith("event")]


async def test_logs_survive_an_outage_of_nats(
    nats_server: NatsServer, messaging: Messaging, tasks: TaskSet, tmp_path: Path
) -> None:
    """The records of an outage are the ones that explain it."""
    await make_stream(nats_server, "LOGS")
    shipper = LogShipper("tester", "tester-1", messaging, tmp_path / "spool")
    shipper.attach("INFO")
    shipping = tasks.spawn(shipper.run(), name="log shipper")
    logger.info("event 0")
    await shipper.flush()
    await nats_server.stop(kill=True)
    for n in range(1, 500):
        logger.info(f"event {n}")
        if n % 100 == 0:
            await shipper.flush()
    assert (tmp_path / "spool" / "000000000001.seg").exists()
    await nats_server.start()
    while not messaging.connected:
        await asyncio.sleep(0.01)
    logger.info("event 500")
    await shipper.flush()
    assert await stored(nats_server) == [f"event {n}" for n in range(501)]
    logger.info("event 501")
    shipping.cancel()
    await asyncio.wait([shipping])
    await shipper.close()
    assert (await stored(nats_server))[-1] == "event 501"
