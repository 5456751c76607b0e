"""After the service was killed in the middle of its work: every value that reached somebody is on both trails."""

import asyncio
import signal
from collections import Counter

import grpc.aio

from cli.embedded import EmbeddedMesh
from mesh.ids import new_id
from tests.integration.services.secure_bot_data.people import People, people_of
from vivesphere.logging.v1.log_record_pb2 import LogRecord
from vivesphere.secure_bot_data.v1 import bot_secret_pb2 as secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2

READERS = 8
ANSWERS = 60


async def test_every_value_that_was_given_out_is_on_both_trails_whenever_the_process_dies(
    engines: EmbeddedMesh,
) -> None:
    """Row and audit record are committed before the values leave, in one transaction: neither is there without the other."""
    bot_id = new_id()
    answered: list[str] = []
    async with people_of(engines) as people:
        put = pb2.PutBotSecretRequest(
            bot_id=bot_id, name="proxy", kind=secret_pb2.SECRET_KIND_GENERIC, fields={"password": "x"}
        )
        await people.as_peer("gateway").PutBotSecret(put, metadata=people.token("admin"), timeout=5)
        readers = [asyncio.create_task(_read(people, bot_id, answered)) for _ in range(READERS)]
        async with asyncio.timeout(20):
            while len(answered) < ANSWERS:
                await asyncio.sleep(0.005)
        await people.service.stop(signal.SIGKILL)
        await asyncio.gather(*readers)
    rows, records = _rows(engines, bot_id), _records(engines, bot_id)
    assert set(answered) <= set(rows)
    assert rows == records
    assert set(rows.values()) == {1}


async def _read(people: People, bot_id: str, answered: list[str]) -> None:
    """Reveals the secret until the service is gone."""
    reveal = people.as_peer("gateway").RevealBotSecret
    request = pb2.RevealBotSecretRequest(bot_id=bot_id, name="proxy", reason="look")
    while True:
        request_id = new_id()
        metadata = (*people.token("admin"), ("x-request-id", request_id))
        try:
            shown = await reveal(request, metadata=metadata, timeout=5)
        except grpc.aio.AioRpcError:
            return
        assert dict(shown.fields) == {"password": "x"}
        answered.append(request_id)


def _rows(engines: EmbeddedMesh, bot_id: str) -> Counter[str]:
    """How often each call is on the access trail as allowed."""
    query = "SELECT request_id FROM secure_bot_data.accesses WHERE bot_id = %s AND allowed AND version = 1"
    with engines.admin.connect() as connection:
        return Counter(request_id for (request_id,) in connection.execute(query, (bot_id,)))


def _records(engines: EmbeddedMesh, bot_id: str) -> Counter[str]:
    """How often each call that revealed something is on the audit trail."""
    query = "SELECT payload FROM secure_bot_data.outbox WHERE subject = 'audit.secure_bot_data'"
    with engines.admin.connect() as connection:
        records = [LogRecord.FromString(payload) for (payload,) in connection.execute(query)]
    return Counter(
        record.request_id
        for record in records
        if record.bot_id == bot_id
        and record.audit.action.endswith("/RevealBotSecret")
        and record.audit.outcome == "OK"
    )
