"""How fast a change of a setting reaches whoever watches, what reading one costs, and how fast a watcher catches up.

change   from the start of the write until a watcher has the event, with 1, 50 and 500 watchers on one replica; aim: p99 ≤ 50 ms
reads    GetSetting calls per second from one replica, each with its access check
resume   a watcher that missed 10,000 revisions: from opening the stream until it is caught up

Beside each, in the same run, etcd from the distribution's package if the machine has it (`etcd` on the PATH), on the same disk and with
fsync. It is spoken to through its own JSON gateway over HTTP/1.1 without TLS, since no client of it is part of this project: the gateway's
JSON and its proxying to gRPC are in etcd's figures, mutual TLS, access checks, validation and audit are in ours. Client and server share the
machine, so with 500 watchers most of the time is the client's own reading of 500 events. Everything is on loopback.
"""

import asyncio
import base64
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio

from benchmarks.report import Figure, console, print_figures
from cli.embedded import EmbeddedMesh
from cli.ports import LOOPBACK, free_port
from mesh.channels import channel_credentials
from mesh.configuration import SettingDefinition
from mesh.database import open_database
from mesh.settings import ProcessSettings, TlsSettings
from services.configuration.convert.values import from_json
from services.configuration.domain.changes import Author
from services.configuration.domain.setting import Wish
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.domain.values import Stored
from services.configuration.store.postgres import PostgresStore
from tests.fakes.issuer import Issuer
from tests.fakes.revocations import fake_authentication
from vivesphere.configuration.v1 import (
    settings_service_pb2,
    settings_service_pb2_grpc,
    watch_service_pb2,
    watch_service_pb2_grpc,
)

WATCHERS = (1, 50, 500)
ROUNDS = 5
CHANGES = 20
READS = 2_000
IN_FLIGHT = 32
MISSED = 10_000
STREAMS_PER_CHANNEL = 50
SETTING = SettingDefinition[int](
    "bot_manager.benchmark", 0, {"type": "integer", "minimum": 0, "maximum": 10**9}, "Counted up."
)
KEY = base64.b64encode(SETTING.key.encode()).decode()
MILLI = 1e3
PATIENCE_SECONDS = 60
TOKEN_SECONDS = 120

Ready = Callable[[int], None]
"""Told the name of a watcher whose stream has begun, at least once."""
Seen = Callable[[int], None]
"""Told the number of each change that a watcher has got."""


@dataclass
class Ours:
    """One replica of the service, as its clients have it."""

    mesh: EmbeddedMesh
    issuer: Issuer
    stack: AsyncExitStack

    def __post_init__(self) -> None:
        self._operator = settings_service_pb2_grpc.SettingsServiceStub(self.channel("gateway"))
        self._token, self._token_until = "", 0.0

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        if time.monotonic() > self._token_until:
            self._token, self._token_until = self.issuer.token("admin"), time.monotonic() + TOKEN_SECONDS
        return (("authorization", f"Bearer {self._token}"),)

    def channel(self, identity: str) -> grpc.aio.Channel:
        files = self.mesh.data.tls_files(identity)
        tls = TlsSettings(cert_file=files.cert_file, key_file=files.key_file, ca_file=files.ca_file)
        channel = grpc.aio.secure_channel(
            f"{LOOPBACK}:{self.mesh.ports['configuration']}",
            channel_credentials(tls),
            options=(
                ("grpc.ssl_target_name_override", "configuration"),
                ("grpc.use_local_subchannel_pool", 1),
            ),
        )
        self.stack.push_async_callback(channel.close)
        return channel

    async def declare(self) -> None:
        """Make the setting known; waits until the service knows who may do what."""
        stub = watch_service_pb2_grpc.WatchServiceStub(self.channel("bot_manager"))
        request = watch_service_pb2.RegisterDefinitionsRequest(
            definitions=[SETTING.to_proto()], release="1.0.0"
        )
        await stub.RegisterDefinitions(request, timeout=PATIENCE_SECONDS)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await self.read()
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.1)
                else:
                    return

    async def write(self, number: int) -> None:
        request = settings_service_pb2.UpdateSettingRequest(key=SETTING.key, value=from_json(number))
        await self._operator.UpdateSetting(request, metadata=self._metadata(), timeout=PATIENCE_SECONDS)

    async def read(self) -> None:
        request = settings_service_pb2.GetSettingRequest(key=SETTING.key)
        await self._operator.GetSetting(request, metadata=self._metadata(), timeout=PATIENCE_SECONDS)

    def channels(self, watchers: int) -> list[grpc.aio.Channel]:
        """Enough for so many streams."""
        return [self.channel("bot_manager") for _ in range(-(-watchers // STREAMS_PER_CHANNEL))]

    async def watch(self, channel: grpc.aio.Channel, name: int, ready: Ready, seen: Seen) -> None:
        """Follow until cancelled."""
        request = watch_service_pb2.WatchRequest(instance=f"watcher-{name}")
        async for response in watch_service_pb2_grpc.WatchServiceStub(channel).Watch(request):
            match response.WhichOneof("event"):
                case "bookmark":
                    ready(name)
                case "transaction":
                    [change] = response.transaction.changes
                    seen(int(change.setting.value.number_value))

    async def miss(self, count: int) -> int:
        """Make so many revisions past the service; the revision before them."""
        environment = self.mesh.environment("configuration")
        settings = ProcessSettings(
            database_url=environment["VIVESPHERE_DATABASE_URL"],
            database_password_file=Path(environment["VIVESPHERE_DATABASE_PASSWORD_FILE"]),
        )
        database = open_database(settings, "configuration")
        try:
            store = PostgresStore(database)
            book = SettingsBook(store, lambda revision: None)
            before = (await store.head()).revision
            for number in range(count):
                await book.change(Wish(SETTING.key, Stored(1_000_000 + number)), Author("benchmark"))
            return before
        finally:
            await database.close()

    async def catch_up(self, revision: int) -> float:
        """Seconds from opening a stream after the revision until the bookmark."""
        stub = watch_service_pb2_grpc.WatchServiceStub(self.channel("bot_manager"))
        request = watch_service_pb2.WatchRequest(instance="late", from_revision=revision)
        began, got = time.perf_counter(), 0
        stream = stub.Watch(request)
        async for response in stream:
            got += response.HasField("transaction")
            if response.HasField("bookmark"):
                break
        stream.cancel()
        assert got == MISSED
        return time.perf_counter() - began


@dataclass
class Etcd:
    """A server of its own, spoken to through its JSON gateway."""

    client: aiohttp.ClientSession
    url: str

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self.client.post(f"{self.url}{path}", json=body) as answer:
            answer.raise_for_status()
            found: dict[str, Any] = await answer.json(content_type=None)
            return found

    async def write(self, number: int) -> None:
        value = base64.b64encode(str(number).encode()).decode()
        await self._post("/v3/kv/put", {"key": KEY, "value": value})

    async def read(self) -> None:
        await self._post("/v3/kv/range", {"key": KEY})

    def channels(self, watchers: int) -> list[None]:
        return [None]

    async def watch(self, channel: None, name: int, ready: Ready, seen: Seen) -> None:
        """Follow until cancelled."""
        async for result in self._events({"key": KEY}):
            if result.get("created"):
                ready(name)
            for event in result.get("events", ()):
                seen(int(base64.b64decode(event["kv"]["value"])))

    async def miss(self, count: int) -> int:
        """Make so many revisions; the revision before them."""
        before = int((await self._post("/v3/kv/range", {"key": KEY}))["header"]["revision"])
        for number in range(count):
            await self.write(1_000_000 + number)
        return before

    async def catch_up(self, revision: int) -> float:
        """Seconds from opening a stream after the revision until the last event."""
        began, got = time.perf_counter(), 0
        async for result in self._events({"key": KEY, "start_revision": str(revision + 1)}):
            got += len(result.get("events", ()))
            if got == MISSED:
                return time.perf_counter() - began
        raise AssertionError("etcd ended the stream")

    async def _events(self, create: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        async with self.client.post(f"{self.url}/v3/watch", json={"create_request": create}) as answer:
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)["result"]


async def measure() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as name:
        async with AsyncExitStack() as stack:
            await _measure("ours", await stack.enter_async_context(_ours(Path(name) / "data")))
        binary = shutil.which("etcd")
        if binary is None:
            console.print("\netcd is not on the PATH: no comparison (Debian: apt-get install etcd-server)")
            return
        async with _etcd(binary, Path(name)) as etcd:
            await _measure("etcd, JSON gateway", etcd)


@asynccontextmanager
async def _ours(folder: Path) -> AsyncIterator[Ours]:
    issuer = Issuer()
    async with EmbeddedMesh(folder, services=()) as mesh, AsyncExitStack() as stack:
        address = f"{LOOPBACK}:{mesh.ports['authentication']}"
        await stack.enter_async_context(fake_authentication(mesh.data, address, issuer))
        await mesh.supervisor.start(2, mesh.service_spec("configuration"))
        ours = Ours(mesh, issuer, stack)
        await ours.declare()
        yield ours


@asynccontextmanager
async def _etcd(binary: str, folder: Path) -> AsyncIterator[Etcd]:
    client, peer = (f"http://{LOOPBACK}:{free_port()}" for _ in range(2))
    process = await asyncio.create_subprocess_exec(
        *(binary, "--data-dir", str(folder / "etcd"), "--log-level", "error"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"default={peer}"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            etcd = Etcd(session, client)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    try:
                        await etcd.write(0)
                    except aiohttp.ClientError:
                        await asyncio.sleep(0.1)
                    else:
                        break
            yield etcd
    finally:
        process.terminate()
        await process.wait()


async def _measure(name: str, server: Ours | Etcd) -> None:
    figures: list[Figure] = []
    for watchers in WATCHERS:
        p50, p99 = await _changes(server, watchers)
        figures.append(Figure(f"change → event, {watchers} watcher(s), p50", "ms", p50))
        figures.append(Figure(f"change → event, {watchers} watcher(s), p99", "ms", p99))
    figures.append(Figure(f"reads, {IN_FLIGHT} in flight", "/s", await _reads(server.read)))
    before = await server.miss(MISSED)
    late = [await server.catch_up(before) for _ in range(ROUNDS)]
    figures.append(Figure(f"caught up after {MISSED:,} missed revisions", "s", late))
    print_figures(f"Configuration: {name}, {CHANGES} changes a round, {ROUNDS} rounds", figures)


async def _changes(server: Any, watchers: int) -> tuple[list[float], list[float]]:
    """p50 and p99 of each round, over all watchers and changes, in milliseconds."""
    started: dict[int, float] = {}
    latencies: list[float] = []
    complete, everybody = asyncio.Event(), asyncio.Event()
    here: set[int] = set()

    def ready(name: int) -> None:
        here.add(name)
        if len(here) == watchers:
            everybody.set()

    def seen(number: int) -> None:
        if number in started:
            latencies.append((time.perf_counter() - started[number]) * MILLI)
            if len(latencies) % watchers == 0:
                complete.set()

    channels = server.channels(watchers)
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(server.watch(channels[number % len(channels)], number, ready, seen))
            for number in range(watchers)
        ]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await everybody.wait()
        p50, p99 = [], []
        for round_ in range(ROUNDS + 1):
            latencies.clear()
            for change in range(CHANGES):
                number = watchers * 1_000 + round_ * CHANGES + change
                complete.clear()
                started[number] = time.perf_counter()
                await server.write(number)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await complete.wait()
            if round_:  # the first one warms up
                p50.append(statistics.median(latencies))
                p99.append(statistics.quantiles(latencies, n=100)[98])
        for task in running:
            task.cancel()
    return p50, p99


async def _reads(read: Callable[[], Awaitable[None]]) -> list[float]:
    rates = []
    for _ in range(ROUNDS):
        left = iter(range(READS))

        async def worker(left: Any = left) -> None:
            for _ in left:
                await read()

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
        rates.append(READS / (time.perf_counter() - began))
    return rates
