"""How fast and how punctually posts go out: BOTS bots, POSTS posts, the local X sandbox, every guarantee on.

burst      all posts due in the same second: posts a second from that second until X has the last one (aim ≥ 900/s on two cores), and how late each
           was on X; with one process of bot_manager, and with two
steady     STEADY_RATE posts a second for STEADY_SECONDS: how late each was (aim p99 ≤ 1 s)
claim      one look for due posts with 10 thousand and with 2 million scheduled ones (aim: the same within 20 %)
preview    PreviewPost of a post with a template and a link, one at a time
rivals     the burst's job list through APScheduler (in memory) and through Procrastinate (PostgreSQL), each with a bare function that signs
           and posts: no intent, no outcome, no reconciling

CPU a post is what each process used, over the burst. X (the sandbox, one Python process that verifies every signature), PostgreSQL, NATS with
fsync, OpenBao, secure_bot_data, bot_manager and the benchmark share the machine. Each text is on X exactly once, or the benchmark fails.
BENCHMARK_POSTS gives another number of posts.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import psutil
from sqlalchemy import insert, text

from benchmarks import publishing_rivals
from benchmarks.report import Figure, print_figures
from cli.embedded import EmbeddedMesh
from cli.environment import python_module
from cli.ports import LOOPBACK
from mesh.channels import channel_credentials
from mesh.database import Database
from mesh.ids import new_id
from mesh.settings import TlsSettings
from services.bot_manager.domain import rules
from services.bot_manager.domain.model import Bot, BotState, Part, Post, PostState
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.rows import bot_values
from services.bot_manager.store.tables import bots
from services.bot_manager.store.writing import insert_posts
from tests.fakes.engines import database_of
from tests.fakes.issuer import Issuer
from tests.fakes.replicas import second
from tests.fakes.revocations import fake_authentication
from vivesphere.bot_manager.v1 import post_pb2, post_service_pb2
from vivesphere.bot_manager.v1.post_service_pb2_grpc import PostServiceStub
from vivesphere.secure_bot_data.v1 import bot_secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub

POSTS = 10_000
BOTS = 300
STEADY_RATE = 50
STEADY_SECONDS = 60
PREVIEWS = 1_000
FEW, MANY = 10_000, 2_000_000
CLAIM_ROUNDS = 30
CLAIMED = 100
LEAD = timedelta(seconds=6)
LATENESS = timedelta(hours=1)
PATIENCE_SECONDS = 300
POLL_SECONDS = 0.25
ROWS = 2_000
MILLI = 1e3

Keys = dict[str, str]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Bots with their accounts' keys, by number."""

    bots: Sequence[Bot]
    keys: Sequence[Keys]


@dataclass(frozen=True, slots=True)
class Job:
    """One post that is to be made: what every competitor gets."""

    bot: int
    text: str


class X:
    """The sandbox as a process."""

    def __init__(self, url: str, pid: int, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.pid = pid
        self._session = session

    async def account(self, handle: str) -> Keys:
        """A new account's user id and keys."""
        async with self._session.post(f"{self.url}/sandbox/accounts", json={"handle": handle}) as answer:
            answer.raise_for_status()
            return dict(await answer.json())

    async def shown(self) -> dict[str, datetime]:
        """When each text came; fails if one is there twice."""
        async with self._session.get(f"{self.url}/sandbox/posts") as answer:
            found = (await answer.json())["posts"]
        doubled = [one for one, count in Counter(post["text"] for post in found).items() if count > 1]
        assert not doubled, f"{len(doubled)} texts are on X more than once"
        return {post["text"]: datetime.fromisoformat(post["created_at"]) for post in found}


@asynccontextmanager
async def sandbox() -> AsyncIterator[X]:
    """A sandbox that counts no limits."""
    process = await asyncio.create_subprocess_exec(
        *python_module("sandbox"),
        env={**os.environ, "VIVESPHERE_SANDBOX_PORT": "0", "VIVESPHERE_SANDBOX_RATE_LIMITS": "off"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as session:
            yield X(line.rpartition(" ")[2], process.pid, session)
    finally:
        process.terminate()
        await process.wait()


async def measure() -> None:
    """Run and print."""
    count = int(os.environ.get("BENCHMARK_POSTS", POSTS))
    with tempfile.TemporaryDirectory() as name:
        async with sandbox() as x:
            extra = {"bot_manager": {"VIVESPHERE_X_API_URL": x.url}}
            issuer = Issuer()
            async with (
                EmbeddedMesh(Path(name) / "data", extra=extra) as mesh,
                fake_authentication(mesh.data, f"{LOOPBACK}:{mesh.ports['authentication']}", issuer),
                database_of(mesh, "bot_manager") as database,
            ):
                for service in ("configuration", "secure_bot_data", "bot_manager"):
                    await mesh.supervisor.start(2, mesh.service_spec(service))
                fleet = await _fleet(mesh, database, x)
                figures = await _burst(mesh, database, fleet, x, "burst", count, 0)
                steady = STEADY_RATE * STEADY_SECONDS
                figures += await _steady(database, fleet, x, count)
                await mesh.supervisor.start(2, second(mesh, "bot_manager"))
                figures += await _burst(mesh, database, fleet, x, "burst, 2 processes", count, count + steady)
                figures.append(await _previews(mesh, fleet, issuer))
                figures += await publishing_rivals.measure(mesh, x, fleet, _jobs("rival", count))
        async with (
            EmbeddedMesh(Path(name) / "claims") as mesh,
            database_of(mesh, "bot_manager") as database,
        ):
            figures += await _claims(mesh, database)
    print_figures(f"Publishing: {count:,} posts of {BOTS} bots to the local X sandbox", figures)


async def _fleet(mesh: EmbeddedMesh, database: Database, x: X) -> Fleet:
    now = datetime.now(UTC)
    keys = [await x.account(f"bot{number}") for number in range(BOTS)]
    made = [
        Bot(new_id(), f"bot{number}", BotState.ACTIVE, now, now, x_user_id=one["user_id"])
        for number, one in enumerate(keys)
    ]
    async with database.transaction() as connection:
        await connection.execute(insert(bots), [bot_values(bot) for bot in made])
    async with _channel(mesh, "bot_manager", "secure_bot_data") as channel:
        stub = BotSecretServiceStub(channel)
        for bot, fields in zip(made, keys, strict=True):
            strings = {name: value for name, value in fields.items() if name != "user_id"}
            await stub.StoreBotSecret(
                pb2.StoreBotSecretRequest(
                    bot_id=bot.id,
                    name="x_oauth1",
                    kind=bot_secret_pb2.SECRET_KIND_X_OAUTH1,
                    fields=strings,
                ),
                timeout=PATIENCE_SECONDS,
            )
    return Fleet(made, keys)


def _channel(mesh: EmbeddedMesh, identity: str, service: str) -> grpc.aio.Channel:
    files = mesh.data.tls_files(identity)
    tls = TlsSettings(cert_file=files.cert_file, key_file=files.key_file, ca_file=files.ca_file)
    return grpc.aio.secure_channel(
        f"{LOOPBACK}:{mesh.ports[service]}",
        channel_credentials(tls),
        options=(("grpc.ssl_target_name_override", service.replace("_", "-")),),
    )


def _jobs(name: str, count: int) -> list[Job]:
    return [Job(number % BOTS, f"{name} {number} of a fleet that is measured") for number in range(count)]


async def _add(database: Database, fleet: Fleet, jobs: Sequence[Job], due: Sequence[datetime]) -> None:
    """Store the posts as CreatePost would, many at a time."""
    now = datetime.now(UTC)
    made = []
    for job, time_ in zip(jobs, due, strict=True):
        parts = (Part(0, job.text),)
        draft = Post(new_id(), fleet.bots[job.bot].id, PostState.DRAFT, parts, now, now, creator="x")
        made.append(rules.create(draft, time_, LATENESS))
    for start in range(0, len(made), ROWS):
        async with database.transaction(seconds=PATIENCE_SECONDS) as connection:
            await insert_posts(connection, made[start : start + ROWS], now, "benchmark")


async def _until_published(database: Database, count: int) -> None:
    """So many are PUBLISHED, and none is anything else."""
    query = text("SELECT state, count(*) FROM posts GROUP BY state")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with database.read() as connection:
                states = dict((await connection.execute(query)).tuples().all())
            if states == {"PUBLISHED": count}:
                return
            await asyncio.sleep(POLL_SECONDS)


async def _burst(
    mesh: EmbeddedMesh, database: Database, fleet: Fleet, x: X, name: str, count: int, before: int
) -> list[Figure]:
    jobs = _jobs(name, count)
    processes = _processes(mesh, x)
    # So far ahead that storing them is over by then.
    due = datetime.now(UTC) + LEAD + timedelta(seconds=count / 1500)
    await _add(database, fleet, jobs, [due] * count)
    used = _cpu(processes)
    await _until_published(database, before + count)
    after = _cpu(processes)
    shown = await x.shown()
    late = [(shown[job.text] - due).total_seconds() for job in jobs]
    return [
        Figure(f"{name}: posts", "/s", [count / max(late)]),
        *_lateness(name, late),
        *(
            Figure(f"{name}: CPU a post, {process}", "µs", [(after[process] - used[process]) / count * 1e6])
            for process in processes
        ),
    ]


async def _steady(database: Database, fleet: Fleet, x: X, before: int) -> list[Figure]:
    count = STEADY_RATE * STEADY_SECONDS
    jobs = _jobs("steady", count)
    first = datetime.now(UTC) + LEAD
    due = [first + timedelta(seconds=number / STEADY_RATE) for number in range(count)]
    await _add(database, fleet, jobs, due)
    await _until_published(database, before + count)
    shown = await x.shown()
    late = [(shown[job.text] - time_).total_seconds() for job, time_ in zip(jobs, due, strict=True)]
    return _lateness(f"steady {STEADY_RATE}/s", late)


async def _previews(mesh: EmbeddedMesh, fleet: Fleet, issuer: Issuer) -> Figure:
    """As the gateway asks for an editor."""
    post = post_pb2.Post(
        text="{{ greeting }}, {{ choose('all', 'everybody') }}: https://example.com/news is new",
        template=post_pb2.TemplateOptions(variables={"greeting": "Hello"}),
    )
    samples = []
    metadata = (("authorization", f"Bearer {issuer.token('admin')}"),)
    async with _channel(mesh, "gateway", "bot_manager") as channel:
        stub = PostServiceStub(channel)
        for number in range(PREVIEWS):
            request = post_service_pb2.PreviewPostRequest(bot_id=fleet.bots[number % BOTS].id, post=post)
            began = time.perf_counter()
            await stub.PreviewPost(request, metadata=metadata, timeout=PATIENCE_SECONDS)
            samples.append((time.perf_counter() - began) * MILLI)
    return Figure("PreviewPost, p99", "ms", [statistics.quantiles(samples, n=100)[98]])


def _lateness(name: str, late: Sequence[float]) -> list[Figure]:
    return [
        Figure(f"{name}: late, p50", "ms", [statistics.median(late) * MILLI]),
        Figure(f"{name}: late, p99", "ms", [statistics.quantiles(late, n=100)[98] * MILLI]),
    ]


async def _claims(mesh: EmbeddedMesh, database: Database) -> list[Figure]:
    """One look of the claimer, each claiming as many."""
    ledger, now = PostgresLedger(database, "benchmark"), datetime.now(UTC)
    bot = Bot(new_id(), "claimed", BotState.ACTIVE, now, now)
    async with database.transaction() as connection:
        await connection.execute(insert(bots), [bot_values(bot)])
    figures, there = [], 0
    for total in (FEW, MANY):
        await asyncio.to_thread(_fill, mesh, bot.id, there, total)
        there = total
        samples = []
        for _ in range(CLAIM_ROUNDS):
            began = time.perf_counter()
            claims = await ledger.claim_due("benchmark", datetime.now(UTC), timedelta(minutes=1), CLAIMED)
            samples.append((time.perf_counter() - began) * MILLI)
            assert len(claims) == CLAIMED
        figures.append(Figure(f"claim {CLAIMED} of {total:,} scheduled", "ms", samples))
    return figures


def _fill(mesh: EmbeddedMesh, bot_id: str, there: int, total: int) -> None:
    """Scheduled posts by SQL: of each thousand rounds as many are due as are claimed, the others wait for months."""
    with mesh.admin.connect(autocommit=True) as database:
        database.execute("SET search_path = bot_manager")
        columns = (
            "id, bot_id, state, content, queue, creator, origin, scheduled_time, miss_time, due_time, claim_fence, claimed_by,"
            " attempt_count, attempts_before, entry_count, version, create_time, update_time"
        )
        database.execute(
            f"INSERT INTO posts ({columns}) SELECT uuidv7(), %(bot)s, 'SCHEDULED', '{{}}', '', 'x', 'MANUAL', due,"  # noqa: S608 - our own words
            " NULL, due, 0, '', 0, 0, 0, 1, now(), now() FROM (SELECT CASE WHEN n - %(there)s < %(due)s THEN now() - interval '1 hour'"
            " ELSE now() + n * interval '3 seconds' END AS due FROM generate_series(%(there)s, %(total)s - 1) AS n) AS made",
            {"bot": bot_id, "there": there, "total": total, "due": CLAIM_ROUNDS * CLAIMED},
        )
        database.execute("VACUUM ANALYZE posts")


def _processes(mesh: EmbeddedMesh, x: X) -> dict[str, psutil.Process]:
    found = {child.spec.name: psutil.Process(child.pid) for child in mesh.supervisor.children}
    return {"X sandbox": psutil.Process(x.pid)} | {
        name: found[name]
        for name in ("bot_manager", "bot_manager-2", "postgres", "nats", "secure_bot_data", "openbao")
        if name in found
    }


def _cpu(processes: dict[str, psutil.Process]) -> dict[str, float]:
    """CPU seconds so far, those of children included, also of children that have ended."""
    used: dict[str, Any] = {}
    for name, process in processes.items():
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        used[name] = (
            sum(one.user + one.system for one in times) + times[0].children_user + times[0].children_system
        )
    return used
