"""Laws of a stop under load, and of the start: what is under way is finished, nothing new begins, and there are enough descriptors."""

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import httpx

from tests.integration.gateway.conftest import free_port, wait_for_port
from tests.integration.gateway.hostile.support import HOST, ROOT, close, gateway, until_closed
from tests.unit.gateway.support import echo_set


async def until_refused(port: int) -> None:
    """Return once nobody listens any more."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            await close(writer)


async def test_a_stop_under_load_finishes_what_is_under_way_and_refuses_what_is_new(tmp_path: Path) -> None:
    """Calls are answered, streams say why they end, idle connections close, the exit status is 0, all within the drain time."""
    async with gateway(tmp_path, {"drain_seconds": 10}) as running, httpx.AsyncClient(timeout=20) as client:
        streams = [await asyncio.open_connection("127.0.0.1", running.http) for _ in range(10)]
        for _, writer in streams:
            writer.write(b"GET /api/v1/count/0 HTTP/1.1\r\n" + HOST + b"\r\n")
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", running.http)
        idle_writer.write(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        await idle.readuntil(b'"ok"}')
        calls = [asyncio.create_task(client.get(f"{running.url}/api/v1/sleep?seconds=2")) for _ in range(20)]
        async with asyncio.timeout(30):
            while (await running.metrics())["gateway_http_in_flight"] < 31:
                await asyncio.sleep(0.02)
        running.process.send_signal(signal.SIGTERM)
        await until_refused(running.http)
        assert not any(call.done() for call in calls)  # new ones are refused while old ones go on
        for reader, writer in streams:
            last = (await until_closed(reader)).partition(b"\r\n\r\n")[2].split(b"\r\n")[-4]
            assert json.loads(last)["error"]["details"][0]["reason"] == "SHUTTING_DOWN"
            await close(writer)
        assert await until_closed(idle) == b""
        await close(idle_writer)
        assert [answer.status_code for answer in await asyncio.gather(*calls)] == [200] * 20
        assert await asyncio.wait_for(running.process.wait(), 10) == 0


async def test_a_call_that_outlasts_the_drain_time_is_told_that_the_gateway_stops(tmp_path: Path) -> None:
    """503 with a reason can be tried again elsewhere; a connection that breaks may or may not have done something."""
    async with gateway(tmp_path, {"drain_seconds": 0.3}) as running, httpx.AsyncClient(timeout=20) as client:
        call = asyncio.create_task(client.get(f"{running.url}/api/v1/fail/1"))
        async with asyncio.timeout(30):
            while not running.calls.get("Fail"):
                await asyncio.sleep(0.01)
        running.process.send_signal(signal.SIGTERM)
        answer = await call
        assert answer.status_code == 503
        assert answer.json()["details"][0]["reason"] == "SHUTTING_DOWN"
        assert await asyncio.wait_for(running.process.wait(), 10) == 0


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Who asks twice does not want to wait."""
    async with gateway(tmp_path, {"drain_seconds": 60}) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.http)
        writer.write(b"GET /api/v1/fail/1 HTTP/1.1\r\n" + HOST + b"\r\n")
        async with asyncio.timeout(30):
            while not running.calls.get("Fail"):
                await asyncio.sleep(0.01)
        running.process.send_signal(signal.SIGTERM)
        await until_refused(running.http)
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 5) == -signal.SIGTERM
        await until_closed(reader)
        await close(writer)


async def test_the_gateway_takes_as_many_descriptors_as_it_may(tmp_path: Path) -> None:
    """Shells and service managers give 1,024 to begin with, which a few browsers and a proxy would use up."""
    (tmp_path / "set.binpb").write_bytes(echo_set())
    port = free_port()
    command = (
        f'ulimit -Sn 64 && exec "{sys.executable}" -m gateway --descriptors "{tmp_path / "set.binpb"}"'
        f" --backend 127.0.0.1:1 --http-port {port}"
    )
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, cwd=ROOT, env=dict(os.environ), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await wait_for_port(port)
        async with AsyncExitStack() as held, httpx.AsyncClient(timeout=10) as client:
            for _ in range(100):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                held.push_async_callback(close, writer)
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        samples = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in text.splitlines()}
        assert float(samples["process_max_fds"]) > 64
        assert float(samples["process_open_fds"]) > 100
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 15)
