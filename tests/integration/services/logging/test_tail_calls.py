"""TailLogs over gRPC, through the real chain."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest

from mesh.database import Database
from mesh.ids import new_id
from mesh.status import from_rpc_error
from tests.fakes.mesh import until
from tests.integration.services.logging.serving import gateway, log_server
from tests.integration.services.logging.stored import a_record, store
from vivesphere.logging.v1 import log_service_pb2 as pb


async def read(call: Any) -> Any:
    """The next item."""
    async with asyncio.timeout(10):
        return await call.read()


async def read_to_the_end(call: Any) -> None:
    """Whatever comes."""
    while await read(call) is not grpc.aio.EOF:
        pass


async def test_a_client_that_hangs_up_leaves_nothing_behind(tmp_path: Path, database: Database) -> None:
    """Its queue is gone, and with it what the hub does for it."""
    marker = new_id()
    async with log_server(tmp_path, database) as server, server.stub() as stub:
        request = pb.TailLogsRequest(request_id=marker)
        call = stub.TailLogs(request, metadata=server.bearer("reader"))
        assert (await read(call)).WhichOneof("item") is None
        await store(database, a_record(marker, "seen"))
        assert (await read(call)).record.body == "seen"
        assert len(server.replica.hub) == 1
        call.cancel()
        await until(lambda: len(server.replica.hub) == 0)


async def test_a_tail_ends_with_the_token_that_opened_it(tmp_path: Path, database: Database) -> None:
    """Whoever was signed out must not go on reading."""
    async with log_server(tmp_path, database) as server, server.stub() as stub:
        call = stub.TailLogs(pb.TailLogsRequest(), metadata=server.bearer("reader", life=1.2))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await read_to_the_end(call)
        assert from_rpc_error(ended.value).reason == "TOKEN_INVALID"
        await until(lambda: len(server.replica.hub) == 0)


async def test_a_tail_needs_the_permission_to_read_logs(tmp_path: Path, database: Database) -> None:
    """Like every other way to read them."""
    async with log_server(tmp_path, database) as server, server.stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(stub.TailLogs(pb.TailLogsRequest(), metadata=server.bearer()))
        assert from_rpc_error(refused.value).reason == "PERMISSION_MISSING"


async def test_two_hundred_streams_stay_open_at_once(tmp_path: Path, database: Database) -> None:
    """In one process, each with its own filter, each told what it asked for and nothing else."""
    marker = new_id()
    async with log_server(tmp_path, database) as server, server.stub() as stub:
        calls = [
            stub.TailLogs(
                pb.TailLogsRequest(request_id=marker, attributes={"n": str(n)}),
                metadata=server.bearer("reader"),
            )
            for n in range(200)
        ]
        await asyncio.gather(*(read(call) for call in calls))
        await store(database, *(a_record(marker, f"for {n}", attributes={"n": n}) for n in range(200)))
        items = await asyncio.gather(*(read(call) for call in calls))
        assert [item.record.body for item in items] == [f"for {n}" for n in range(200)]
        for call in calls:
            call.cancel()
        await until(lambda: len(server.replica.hub) == 0)


async def test_over_rest_a_quiet_tail_keeps_talking_and_is_resumed(
    tmp_path: Path, database: Database
) -> None:
    """One line of JSON an item, the first at once; what says nothing for long is taken for dead by everybody on the way. A browser goes
    on behind the id of the last event."""
    marker = new_id()
    await store(database, a_record(marker, "old"))
    async with (
        log_server(tmp_path, database, patience=timedelta(milliseconds=50)) as server,
        gateway(server) as (address, _),
    ):
        headers = {"authorization": server.bearer("reader")[0][1]}
        query = {"requestId": marker, "initialCount": "1"}
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=10) as client:
            async with client.stream("GET", "/api/v1/logs:tail", params=query) as response:
                lines = response.aiter_lines()
                items = [json.loads(await anext(lines))["result"] for _ in range(3)]
            assert items[0]["record"]["body"] == "old"
            assert [list(item) for item in items[1:]] == [["resumeToken"], ["resumeToken"]]
            await store(database, a_record(marker, "meanwhile"))
            query = {"requestId": marker, "resumeToken": items[-1]["resumeToken"]}
            async with client.stream("GET", "/api/v1/logs:tail", params=query) as response:
                lines = response.aiter_lines()
                while "record" not in (item := json.loads(await anext(lines))["result"]):
                    pass
            assert item["record"]["body"] == "meanwhile"
            await until(lambda: len(server.replica.hub) == 0)
            query, last = {"requestId": marker}, {"last-event-id": items[-1]["resumeToken"]}
            events = {"accept": "text/event-stream", **last}
            async with client.stream("GET", "/api/v1/logs:tail", params=query, headers=events) as response:
                name = ""
                async for line in response.aiter_lines():
                    name = line[4:] if line.startswith("id: ") else name
                    if line.startswith("data: ") and "record" in (event := json.loads(line[6:])):
                        break
            assert (event, name) == (item, item["resumeToken"])
            answer = await client.get("/api/v1/logs:tail", params={"resumeToken": "made-up"})
            assert (answer.status_code, answer.json()["details"][0]["reason"]) == (400, "INVALID_PAGE_TOKEN")
