"""The burst's job list through two schedulers that people use for this: a bare function that signs and posts, nothing else.

APScheduler keeps its jobs in memory: what a crash leaves, nobody knows. Procrastinate keeps them in PostgreSQL and runs each at least once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import procrastinate
from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from oauthlib.oauth1 import Client as Signer
from psycopg.sql import SQL, Identifier

from benchmarks.report import Figure
from cli.embedded import EmbeddedMesh

if TYPE_CHECKING:
    from benchmarks.publishing import Fleet, Job, X

CONCURRENCY = 200
LEAD = timedelta(seconds=5)
PATIENCE_SECONDS = 300
DATABASE = "procrastinate"

Send = Callable[[int, str], Awaitable[None]]


async def measure(mesh: EmbeddedMesh, x: "X", fleet: "Fleet", jobs: Sequence["Job"]) -> list[Figure]:
    """Posts a second of each."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:
        send = _sender(x.url, session, fleet)
        apscheduler = await _apscheduler(send, jobs)
        shown = await x.shown()
        first = _rate(shown, [f"a {job.text}" for job in jobs], apscheduler)
        procrastinated = await _procrastinate(mesh, send, jobs)
        shown = await x.shown()
        second = _rate(shown, [f"p {job.text}" for job in jobs], procrastinated)
    return [
        Figure("APScheduler in memory, bare function", "/s", [first]),
        Figure("Procrastinate, bare function", "/s", [second]),
    ]


def _rate(shown: dict[str, datetime], texts: Sequence[str], due: datetime) -> float:
    return len(texts) / max((shown[one] - due).total_seconds() for one in texts)


def _sender(url: str, session: aiohttp.ClientSession, fleet: "Fleet") -> Send:
    async def send(bot: int, text: str) -> None:
        keys = fleet.keys[bot]
        signer = Signer(
            keys["consumer_key"],
            keys["consumer_secret"],
            keys["access_token"],
            keys["access_token_secret"],
        )
        address = f"{url}/2/tweets"
        headers = dict(signer.sign(address, "POST")[1])
        async with session.post(address, json={"text": text}, headers=headers) as answer:
            await answer.read()
            answer.raise_for_status()

    return send


async def _apscheduler(send: Send, jobs: Sequence["Job"]) -> datetime:
    scheduler = AsyncIOScheduler(executors={"default": AsyncIOExecutor()}, timezone=UTC)
    free = asyncio.Semaphore(CONCURRENCY)
    left, done = len(jobs), asyncio.Event()

    async def run(bot: int, text: str) -> None:
        nonlocal left
        async with free:
            await send(bot, text)
        left -= 1
        if not left:
            done.set()

    due = datetime.now(UTC) + LEAD + timedelta(seconds=len(jobs) / 2000)
    for job in jobs:
        scheduler.add_job(
            run, "date", run_date=due, args=(job.bot, f"a {job.text}"), misfire_grace_time=PATIENCE_SECONDS
        )
    scheduler.start()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await done.wait()
    scheduler.shutdown()
    return due


async def _procrastinate(mesh: EmbeddedMesh, send: Send, jobs: Sequence["Job"]) -> datetime:
    await asyncio.to_thread(_make_database, mesh)
    connector = procrastinate.PsycopgConnector(kwargs=_login(mesh), max_size=10)
    app = procrastinate.App(connector=connector)
    left, done = len(jobs), asyncio.Event()

    @app.task(name="publish")
    async def publish(bot: int, text: str) -> None:
        nonlocal left
        await send(bot, text)
        left -= 1
        if not left:
            done.set()

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        due = datetime.now(UTC) + LEAD + timedelta(seconds=len(jobs) / 500)
        defer = publish.configure(schedule_at=due)
        for start in range(0, len(jobs), 1000):
            await defer.batch_defer_async(
                *({"bot": job.bot, "text": f"p {job.text}"} for job in jobs[start : start + 1000])
            )
        working = asyncio.create_task(
            app.run_worker_async(
                concurrency=CONCURRENCY, install_signal_handlers=False, fetch_job_polling_interval=0.1
            )
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            await done.wait()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    return due


def _make_database(mesh: EmbeddedMesh) -> None:
    with mesh.admin.connect(autocommit=True) as database:
        database.execute(SQL("CREATE DATABASE {}").format(Identifier(DATABASE)))


def _login(mesh: EmbeddedMesh) -> dict[str, Any]:
    admin = mesh.admin
    return {
        "host": admin.host,
        "port": admin.port,
        "user": admin.user,
        "password": admin.password_file.read_text(encoding="utf-8").strip(),
        "dbname": DATABASE,
    }
