"""A gateway as a process of its own with what it needs around it, and clients that do not behave."""

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx

from tests.integration.gateway.backend import ScriptedBackend, Seen, echo_behaviours
from tests.integration.gateway.conftest import free_port, wait_for_port
from tests.integration.gateway.test_process import Authority
from tests.unit.gateway.support import echo_set

ROOT = Path(__file__).parents[4]
PROBE_SECONDS = 5.0
"""How long anybody else may have to wait for an answer, whatever a hostile client does."""
LONG = os.environ.get("VIVESPHERE_TEST_PROFILE") == "long"
HOST = b"Host: x\r\n"


class Forgetful(list[Seen]):
    """The calls of a backend that has too many of them to remember."""

    def append(self, item: Seen) -> None:
        """Forget it."""


@dataclass
class Gateway:
    """A running gateway process: `http` and `grpc` are ports, `calls` what is open at the backend right now by method."""

    process: asyncio.subprocess.Process
    http: int
    grpc: int
    backend: ScriptedBackend
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where HTTP is served."""
        return f"http://127.0.0.1:{self.http}"

    async def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its name with labels; asking is an answer to a well-behaved client, so it has to come in time."""
        async with httpx.AsyncClient(timeout=PROBE_SECONDS) as client:
            text = (await client.get(f"{self.url}/metrics")).text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    async def probe(self) -> None:
        """Somebody else calls a method, on a connection of their own, and gets the answer in time."""
        async with httpx.AsyncClient(timeout=PROBE_SECONDS) as client:
            answer = await client.get(f"{self.url}/api/v1/things/1")
        assert (answer.status_code, answer.json()) == (200, {"id": "1"})

    async def until(self, sample: str, most: float) -> None:
        """Return once a sample of /metrics is at most this."""
        async with asyncio.timeout(30):
            while (await self.metrics()).get(sample, 0.0) > most:
                await asyncio.sleep(0.05)

    async def until_nothing_is_open(self) -> None:
        """Return once no request is under way but the one that asks, and no call is left at the backend."""
        await self.until("gateway_http_in_flight", 1)
        async with asyncio.timeout(30):
            while any(self.calls.values()):
                await asyncio.sleep(0.05)

    async def send(self, raw: bytes, *, half: bool = False, patience: float = 0.2) -> bytes:
        """What comes back for these bytes until the gateway closes or is silent for `patience` seconds. `half` closes our side."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.http)
        try:
            with suppress(OSError):  # it may have been refused half-way
                writer.write(raw)
                if half:
                    writer.write_eof()
                await asyncio.wait_for(writer.drain(), PROBE_SECONDS)
            return await read(reader, patience)
        finally:
            await close(writer)


async def read(reader: asyncio.StreamReader, patience: float) -> bytes:
    """Everything up to the end, or to a silence of `patience` seconds after the first bytes."""
    answer = b""
    with suppress(TimeoutError, OSError):
        while more := await asyncio.wait_for(reader.read(65536), patience if answer else PROBE_SECONDS):
            answer += more
    return answer


async def close(writer: asyncio.StreamWriter) -> None:
    """Close without minding how."""
    writer.close()
    with suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), 5)


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """What came before the gateway closed the connection; raises TimeoutError if it never does."""
    answer = b""
    async with asyncio.timeout(30):
        with suppress(OSError):
            while more := await reader.read(65536):
                answer += more
    return answer


def scripted(calls: dict[str, int]) -> ScriptedBackend:
    """The echoing backend. Its streams never end: `Count` says little and often, `FailStream` much at once, `Fail` waits for ever."""
    backend = ScriptedBackend(echo_set())
    backend.seen = Forgetful()
    backend.behaviours |= echo_behaviours(backend)
    thing = backend.type("vivesphere.echo.v1.Thing")

    async def count(request: Any, context: Any) -> AsyncIterator[Any]:
        with opened(calls, "Count"):
            number = 0
            while True:
                yield thing(big=number)
                number += 1
                await asyncio.sleep(0.05 if request.after == 0 else request.after)

    async def much(request: Any, context: Any) -> AsyncIterator[Any]:
        with opened(calls, "FailStream"):
            item = thing(display_name="x" * 60_000)
            while True:
                yield item

    async def wait(request: Any, context: Any) -> Any:
        with opened(calls, "Fail"):
            await asyncio.Event().wait()

    backend.behaviours |= {"Count": count, "FailStream": much, "Fail": wait}
    return backend


class opened:
    """Counts a call as open while it is entered."""

    def __init__(self, calls: dict[str, int], name: str) -> None:
        self._calls, self._name = calls, name

    def __enter__(self) -> None:
        self._calls[self._name] = self._calls.get(self._name, 0) + 1

    def __exit__(self, *_: object) -> None:
        self._calls[self._name] -= 1


@asynccontextmanager
async def gateway(directory: Path, limits: Mapping[str, object] | None = None) -> AsyncIterator[Gateway]:
    """The mesh's gateway with both doors, before one echoing service with mutual TLS. `limits` are names of Limits in lower case."""
    authority = Authority(directory)
    cert, key = authority.issue("gateway")
    service_cert, service_key = authority.issue("echo")
    (directory / "set.binpb").write_bytes(echo_set())
    calls: dict[str, int] = {}
    backend = scripted(calls)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((backend,))
    pair = (service_key.read_bytes(), service_cert.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], authority.file.read_bytes(), True)
    target = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    http, door = free_port(), free_port()
    environment = {
        "VIVESPHERE_HTTP_PORT": http, "VIVESPHERE_GRPC_PORT": door,
        "VIVESPHERE_DESCRIPTORS": directory / "set.binpb", "VIVESPHERE_TARGETS": f"echo=127.0.0.1:{target}",
        "VIVESPHERE_TLS_CERT_FILE": cert, "VIVESPHERE_TLS_KEY_FILE": key,
        "VIVESPHERE_TLS_CA_FILE": authority.file, "VIVESPHERE_DATA_DIR": directory,
        **{f"VIVESPHERE_GATEWAY_{name.upper()}": value for name, value in (limits or {}).items()},
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", cwd=ROOT, stdout=subprocess.DEVNULL,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
    )  # fmt: skip
    try:
        await wait_for_port(http)
        yield Gateway(process, http, door, backend, calls)
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 15)
        await server.stop(0)


def can_open(files: int) -> bool:
    """Let the test's own process open this many files more; False when it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard == resource.RLIM_INFINITY or hard > files + 500
