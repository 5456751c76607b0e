"""What the service adds to the vault: put, reveal and lease beside the same vault calls made by hvac itself, in the same run.

put     StoreBotSecret: encrypt with Transit, write to KV with compare-and-set, catalogue, audit
reveal  RevealBotSecret: read KV, decrypt with Transit, the row of the access trail committed, audit
lease   LeaseBotSecret: as reveal, and a lease counted under the bot's lock

Each operation is made one at a time (latency) and with 16 in flight (throughput; over as many bots, as a fleet does). "hvac" are the two vault
calls that the operation needs, with hvac's own client and session, on threads when 16 are in flight: no RBAC, no trail, no catalogue.
Aims: latency at most 1.5 times that of hvac, throughput at least 0.8 times. Service, engines and client share the machine.

rewrap  a job over 10,000 secrets after the key was rotated: secrets a second, and how long reveals take meanwhile
"""

import asyncio
import base64
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc.aio
import hvac

from benchmarks.report import Figure, console, print_figures
from cli.embedded import EmbeddedMesh
from cli.ports import LOOPBACK
from cli.setup.vault import DEFAULT_NAMES, connect
from mesh.channels import channel_credentials
from mesh.ids import new_id
from mesh.settings import TlsSettings
from services.secure_bot_data.store.vault import TRANSIT_KEY
from tests.fakes.issuer import Issuer
from tests.fakes.revocations import fake_authentication
from vivesphere.secure_bot_data.v1 import bot_secret_pb2, secret_key_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1 import secret_key_service_pb2 as keys_pb2
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub
from vivesphere.secure_bot_data.v1.secret_key_service_pb2_grpc import SecretKeyServiceStub

ROUNDS = 5
CALLS = 200
IN_FLIGHT = 16
SECRETS = 10_000
NAME = "x_oauth1"
FIELDS = {
    name: name.ljust(50, "x")
    for name in ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
}
CONTEXT = base64.b64encode(b"benchmark").decode()
MILLI = 1e3
PATIENCE_SECONDS = 60
TOKEN_SECONDS = 120
POLL_SECONDS = 0.1

Operation = Callable[[int], Awaitable[None]]
"""One call about the bot with this number."""


class Ours:
    """The service as a process, as its callers have it."""

    def __init__(self, mesh: EmbeddedMesh, issuer: Issuer, stack: AsyncExitStack) -> None:
        self._mesh = mesh
        self._issuer = issuer
        self._stack = stack
        self._bots = [new_id() for _ in range(IN_FLIGHT)]
        self._token, self._token_until = "", 0.0
        self._machine = BotSecretServiceStub(self._channel("bot_manager"))
        people = self._channel("gateway")
        self._people, self.keys = BotSecretServiceStub(people), SecretKeyServiceStub(people)

    def _channel(self, identity: str) -> grpc.aio.Channel:
        files = self._mesh.data.tls_files(identity)
        tls = TlsSettings(cert_file=files.cert_file, key_file=files.key_file, ca_file=files.ca_file)
        channel = grpc.aio.secure_channel(
            f"{LOOPBACK}:{self._mesh.ports['secure_bot_data']}",
            channel_credentials(tls),
            options=(
                ("grpc.ssl_target_name_override", "secure-bot-data"),
                ("grpc.use_local_subchannel_pool", 1),
            ),
        )
        self._stack.push_async_callback(channel.close)
        return channel

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of a call by an administrator who has just proved a second factor."""
        if time.monotonic() > self._token_until:
            self._token = self._issuer.token("admin", second_factor_time=int(time.time()))
            self._token_until = time.monotonic() + TOKEN_SECONDS
        return (("authorization", f"Bearer {self._token}"),)

    async def put(self, number: int) -> None:
        await self.store(self._bots[number])

    async def store(self, bot_id: str) -> None:
        """Write the secret of any bot."""
        request = pb2.StoreBotSecretRequest(
            bot_id=bot_id, name=NAME, kind=bot_secret_pb2.SECRET_KIND_X_OAUTH1, fields=FIELDS
        )
        await self._machine.StoreBotSecret(request, timeout=PATIENCE_SECONDS)

    async def reveal(self, number: int) -> None:
        request = pb2.RevealBotSecretRequest(bot_id=self._bots[number], name=NAME, reason="benchmark")
        await self._people.RevealBotSecret(request, metadata=self.metadata(), timeout=PATIENCE_SECONDS)

    async def lease(self, number: int) -> None:
        request = pb2.LeaseBotSecretRequest(bot_id=self._bots[number], name=NAME, reason="benchmark")
        request.ttl.seconds = 1
        await self._machine.LeaseBotSecret(request, timeout=PATIENCE_SECONDS)

    async def prepare(self) -> None:
        """Wait until the service knows who may do what; give every bot a secret."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    for number in range(IN_FLIGHT):
                        await self.put(number)
                    await self.reveal(0)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    return


class Raw:
    """The same vault calls, by hvac alone; each thread has a client of its own, as hvac's session is not made for sharing."""

    def __init__(self, mesh: EmbeddedMesh, token: str) -> None:
        self._address, self._authority = mesh.vault_address, mesh.data.tls_files("setup").ca_file
        self._token = token
        self._threads = ThreadPoolExecutor(IN_FLIGHT)
        self._local = threading.local()
        self._versions = dict.fromkeys(range(IN_FLIGHT), 0)

    async def put(self, number: int) -> None:
        await self._run(self._put, number)

    async def read(self, number: int) -> None:
        await self._run(self._read, number)

    def close(self) -> None:
        self._threads.shutdown()

    async def _run(self, work: Callable[[int], None], number: int) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, work, number)

    def _client(self) -> hvac.Client:
        if not hasattr(self._local, "client"):
            self._local.client = connect(self._address, self._authority, self._token)
        client: hvac.Client = self._local.client
        return client

    def _put(self, number: int) -> None:
        client, plain = self._client(), base64.b64encode(repr(FIELDS).encode()).decode()
        sealed = client.secrets.transit.encrypt_data(
            TRANSIT_KEY, plain, context=CONTEXT, mount_point=DEFAULT_NAMES.transit_mount
        )
        made = client.secrets.kv.v2.create_or_update_secret(
            f"bots/raw-{number}/{NAME}",
            {"ciphertext": sealed["data"]["ciphertext"]},
            cas=self._versions[number],
            mount_point=DEFAULT_NAMES.kv_mount,
        )
        self._versions[number] = made["data"]["version"]

    def _read(self, number: int) -> None:
        client = self._client()
        found = client.secrets.kv.v2.read_secret_version(
            f"bots/raw-{number}/{NAME}", mount_point=DEFAULT_NAMES.kv_mount, raise_on_deleted_version=True
        )
        client.secrets.transit.decrypt_data(
            TRANSIT_KEY,
            found["data"]["data"]["ciphertext"],
            context=CONTEXT,
            mount_point=DEFAULT_NAMES.transit_mount,
        )


async def measure() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as name:
        async with _ours(Path(name) / "data") as (mesh, ours):
            raw = Raw(mesh, _root_token(mesh))
            for number in range(IN_FLIGHT):
                await raw.put(number)
            await _compare("put", ours.put, raw.put)
            await _compare("reveal", ours.reveal, raw.read)
            await _compare("lease", ours.lease, raw.read)
            raw.close()
            await _rewrap(ours)


@asynccontextmanager
async def _ours(folder: Path) -> AsyncIterator[tuple[EmbeddedMesh, Ours]]:
    issuer = Issuer()
    async with EmbeddedMesh(folder, services=()) as mesh, AsyncExitStack() as stack:
        address = f"{LOOPBACK}:{mesh.ports['authentication']}"
        await stack.enter_async_context(fake_authentication(mesh.data, address, issuer))
        await mesh.supervisor.start(2, mesh.service_spec("configuration"))
        await mesh.supervisor.start(2, mesh.service_spec("secure_bot_data"))
        ours = Ours(mesh, issuer, stack)
        await ours.prepare()
        yield mesh, ours


def _root_token(mesh: EmbeddedMesh) -> str:
    from cli.setup.vault_init import root_token

    data = mesh.data
    return root_token(
        mesh.vault_address, data.tls_files("setup").ca_file, data.secret("setup", "vault_keys.json")
    )


async def _compare(name: str, ours: Operation, raw: Operation) -> None:
    """Rounds alternate, so that both see the same machine."""
    one: dict[str, list[list[float]]] = {"service": [], "hvac": []}
    many: dict[str, list[float]] = {"service": [], "hvac": []}
    tails: dict[str, list[float]] = {"service": [], "hvac": []}
    for _ in range(ROUNDS):
        for who, operation in (("service", ours), ("hvac", raw)):
            one[who].append(await _latencies(operation, 1))
            began = time.perf_counter()
            latencies = await _latencies(operation, IN_FLIGHT)
            many[who].append(len(latencies) / (time.perf_counter() - began))
            tails[who].append(_p99(latencies))
    figures = []
    for who in ("service", "hvac"):
        figures += [
            Figure(f"{who}, one at a time, p50", "ms", [statistics.median(row) for row in one[who]]),
            Figure(f"{who}, one at a time, p99", "ms", [_p99(row) for row in one[who]]),
            Figure(f"{who}, {IN_FLIGHT} in flight", "/s", many[who]),
            Figure(f"{who}, {IN_FLIGHT} in flight, p99", "ms", tails[who]),
        ]
    figures.append(
        Figure(
            "latency, service to hvac (aim ≤ 1.5)",
            "×",
            [
                statistics.median(a) / statistics.median(b)
                for a, b in zip(one["service"], one["hvac"], strict=True)
            ],
        )
    )
    figures.append(
        Figure(
            "throughput, service to hvac (aim ≥ 0.8)",
            "×",
            [a / b for a, b in zip(many["service"], many["hvac"], strict=True)],
        )
    )
    print_figures(f"Secrets: {name}, {CALLS} calls a round, {ROUNDS} rounds", figures)


async def _latencies(operation: Operation, in_flight: int) -> list[float]:
    """Of CALLS calls, in milliseconds."""
    left, found = iter(range(CALLS)), []

    async def worker(number: int) -> None:
        for turn in left:
            bot = number if in_flight > 1 else turn % IN_FLIGHT
            began = time.perf_counter()
            await operation(bot)
            found.append((time.perf_counter() - began) * MILLI)

    await asyncio.gather(*(worker(number) for number in range(in_flight)))
    return found


def _p99(latencies: Sequence[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]


async def _rewrap(ours: Ours) -> None:
    left = iter(range(SECRETS - IN_FLIGHT))

    async def fill() -> None:
        for _ in left:
            await ours.store(new_id())

    began = time.perf_counter()
    await asyncio.gather(*(fill() for _ in range(IN_FLIGHT)))
    console.print(f"\n{SECRETS:,} secrets stored in {time.perf_counter() - began:.0f} s")
    quiet = await _latencies(ours.reveal, 1)
    await ours.keys.RotateSecretKey(
        keys_pb2.RotateSecretKeyRequest(), metadata=ours.metadata(), timeout=PATIENCE_SECONDS
    )
    began = time.perf_counter()
    started = await ours.keys.RewrapSecrets(
        keys_pb2.RewrapSecretsRequest(), metadata=ours.metadata(), timeout=PATIENCE_SECONDS
    )
    meanwhile: list[float] = []
    while True:
        meanwhile += await _latencies(ours.reveal, 1)
        answer = await ours.keys.GetRewrapJob(
            keys_pb2.GetRewrapJobRequest(job_id=started.job.id),
            metadata=ours.metadata(),
            timeout=PATIENCE_SECONDS,
        )
        if answer.job.state != secret_key_pb2.REWRAP_JOB_STATE_RUNNING:
            break
    job = answer.job
    seconds = (job.end_time.ToDatetime() - job.create_time.ToDatetime()).total_seconds()
    assert (job.state, job.failed_count) == (secret_key_pb2.REWRAP_JOB_STATE_SUCCEEDED, 0)
    figures = [
        Figure("secrets rewrapped", "/s", [job.rewrapped_count / seconds]),
        Figure("reveal before, p50", "ms", [statistics.median(quiet)]),
        Figure("reveal before, p99", "ms", [_p99(quiet)]),
        Figure("reveal meanwhile, p50", "ms", [statistics.median(meanwhile)]),
        Figure("reveal meanwhile, p99", "ms", [_p99(meanwhile)]),
    ]
    print_figures(f"Secrets: rewrap of {job.rewrapped_count:,} in one run", figures)
