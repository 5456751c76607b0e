"""How fast records become queryable: published to NATS in batches of 200, taken, judged, redacted, stored and indexed by the service.

rate       records from the first publish until the last one is queryable, a second; aim ≥ 30,000/s. Also of the last third alone.
lag        from the publish of a batch until its first record is found by a query; the publisher keeps IN_FLIGHT batches on their way,
           so that at the highest rate nothing queues for longer than the pipeline is deep; aim p99 < 1 s
alone      the lag of a batch of one record when nothing else is on its way; aim about 100 ms
size       bytes a record on disk, with all indexes, and of the text index alone
bare COPY  the same rows by COPY into a table without indexes, as the limit of PostgreSQL on this machine, in the same run

One batch in TWICE_EVERY is sent twice under another message id; at the end each record must be there once. Publisher, NATS with mutual TLS and
fsync, service (one process) and PostgreSQL with fsync share the machine. BENCHMARK_RECORDS gives another number of records than RECORDS.
"""

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import zstandard

from benchmarks.report import Figure, print_figures
from cli.embedded import EmbeddedMesh
from cli.setup import DATABASE
from mesh.ids import new_id
from mesh.messaging import Messaging
from tests.fakes.engines import messaging_of
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2

RECORDS = 2_000_000
A_BATCH = 200
IN_FLIGHT = 64
TWICE_EVERY = 200
COPIED = 500_000
BODIES = 5_000
ALONE = 20
POLL_SECONDS = 0.01
PATIENCE_SECONDS = 60
MILLI = 1e3
PROBE = "probe"
SERVICE = "bot_manager"
SENSITIVE_SHARE = 0.05
"""Of texts that hold a word like "token", at which redaction has to look more closely."""
# As many different words as a code base of some size has in its messages, and numbers.
WORDS = [f"{first}{second}" for first in ["publish", "fetch", "bot", "post", "user", "sched", "queue", "retry", "cache", "index", "vault", "stream"]
         for second in ("", "ed", "ing", "er", "s", "able", "less", "ness")]  # fmt: skip

Made = tuple[str, bytes, bytes | None]
"""Name of a batch's probe, the batch, and the same records under another batch id where they go twice."""


class Batches:
    """Makes batches cheaply: one message object, of which only what differs is set again."""

    def __init__(self) -> None:
        chance = random.Random(7)  # noqa: S311 - the same texts in every run
        self._bodies = [_body(chance) for _ in range(BODIES)]
        self._batch = log_batch_pb2.LogBatch(service=SERVICE, instance="web-1/4711", service_version="1.0.0")
        self._compressor = zstandard.ZstdCompressor(level=1)
        for number in range(A_BATCH):
            record = self._batch.records.add(
                category=log_record_pb2.LOG_CATEGORY_DEBUG,
                severity=log_record_pb2.SEVERITY_INFO if number % 10 else log_record_pb2.SEVERITY_WARN,
                severity_text="INFO" if number % 10 else "WARNING",
            )
            record.attributes.update({"attempt": number % 5, "duration_ms": number / 8, "method": "GET"})

    def alone(self) -> Made:
        """One record in a batch."""
        probe = new_id()
        self._fill(0, probe)
        del self._batch.records[1:]
        return probe, self._compressed(), None

    def payloads(self, batches: int) -> Iterator[Made]:
        """Whole batches, one after the other."""
        for number in range(batches):
            probe = new_id()
            self._fill(number, probe)
            payload = self._compressed()
            again = self._compressed() if number % TWICE_EVERY == 0 else None
            yield probe, payload, again

    def _compressed(self) -> bytes:
        self._batch.id = new_id()
        return self._compressor.compress(self._batch.SerializeToString())

    def _fill(self, number: int, probe: str) -> None:
        self._batch.first_sequence = number * A_BATCH + 1
        now, trace = time.time_ns(), new_id().replace("-", "")
        for position, record in enumerate(self._batch.records):
            record.id = new_id()
            record.time.FromNanoseconds(now + position * 1_000)
            record.observed_time.CopyFrom(record.time)
            record.body = self._bodies[(number * A_BATCH + position) % BODIES]
            if position % 4 == 0:
                record.trace_id, record.request_id = trace, probe
        self._batch.records[0].actor = PROBE


class Watch:
    """Finds probes by the query that anybody could make."""

    def __init__(self, mesh: EmbeddedMesh, since: datetime) -> None:
        self._mesh = mesh
        self._since = since
        self._sent: dict[str, float] = {}
        self._free = asyncio.Semaphore(IN_FLIGHT)
        self.lags: list[float] = []
        self.found_at: list[float] = []

    async def publish(self, messaging: Messaging, probe: str, payload: bytes) -> None:
        """Once fewer than IN_FLIGHT are on their way."""
        await self._free.acquire()
        self._sent[probe] = time.perf_counter()
        await messaging.publish(
            f"logs.{SERVICE}", payload, message_id=new_id(), headers={"Content-Encoding": "zstd"}
        )

    async def follow(self, batches: int) -> None:
        """Until so many are found."""
        async with asyncio.timeout(None) as patience:
            async with await psycopg.AsyncConnection.connect(
                **_login(self._mesh), autocommit=True
            ) as database:
                while len(self.lags) < batches:
                    found = await database.execute(
                        "SELECT request_id FROM logging.records WHERE category = 2 AND actor = %s AND time >= %s"
                        " AND request_id = ANY (%s)",
                        (PROBE, self._since, list(self._sent)),
                    )
                    rows = await found.fetchall()
                    self._note([probe for (probe,) in rows])
                    if rows:
                        patience.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
                    await asyncio.sleep(POLL_SECONDS)

    def _note(self, probes: list[str]) -> None:
        now = time.perf_counter()
        for probe in probes:
            self.lags.append((now - self._sent.pop(probe)) * MILLI)
            self.found_at.append(now)
            self._free.release()


async def measure() -> None:
    """Run and print."""
    batches = int(os.environ.get("BENCHMARK_RECORDS", RECORDS)) // A_BATCH
    # Made before, so that making them takes nothing from the pipeline; compressed they are some 90 bytes a record.
    since = datetime.now(UTC)
    made = list(Batches().payloads(batches))
    with tempfile.TemporaryDirectory() as name:
        async with EmbeddedMesh(Path(name) / "data", services=("logging",)) as mesh:
            async with messaging_of(mesh, SERVICE) as messaging:
                watch, began = Watch(mesh, since), time.perf_counter()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(watch.follow(batches))
                    tasks.create_task(_publish(messaging, watch, made))
                figures = _figures(watch, began, batches)
                figures.append(Figure("lag of one alone, p50", "ms", [await _alone(messaging, mesh, since)]))
            figures += await asyncio.to_thread(_on_disk, mesh, batches * A_BATCH + ALONE)
    print_figures(f"Logging: {batches * A_BATCH:,} records in batches of {A_BATCH}, zstd", figures)


async def _alone(messaging: Messaging, mesh: EmbeddedMesh, since: datetime) -> float:
    """Median of some, one after the other."""
    made, watch = Batches(), Watch(mesh, since)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(watch.follow(ALONE))
        for count in range(ALONE):
            probe, payload, _ = made.alone()
            await watch.publish(messaging, probe, payload)
            while len(watch.lags) <= count and not following.done():
                await asyncio.sleep(POLL_SECONDS)
    return statistics.median(watch.lags)


async def _publish(messaging: Messaging, watch: Watch, made: Sequence[Made]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for probe, payload, again in made:
            await watch.publish(messaging, probe, payload)
            if again is not None:
                tasks.create_task(
                    messaging.publish(
                        f"logs.{SERVICE}", again, message_id=new_id(), headers={"Content-Encoding": "zstd"}
                    )
                )


def _body(chance: random.Random) -> str:
    """About 200 bytes."""
    words = [
        chance.choice(WORDS) if chance.random() < 0.9 else str(chance.randrange(10_000)) for _ in range(26)
    ]
    if chance.random() < SENSITIVE_SHARE:
        words[chance.randrange(len(words))] = "token"
    return " ".join(words)


def _login(mesh: EmbeddedMesh) -> dict[str, Any]:
    """Of the administrator: the connection has to see sizes."""
    admin = mesh.admin
    return {
        "host": admin.host,
        "port": admin.port,
        "user": admin.user,
        "password": admin.password_file.read_text(encoding="utf-8").strip(),
        "dbname": DATABASE,
    }


def _figures(watch: Watch, began: float, batches: int) -> list[Figure]:
    third = batches // 3
    last_third = third * A_BATCH / (watch.found_at[-1] - watch.found_at[-third - 1])
    return [
        Figure("publish → queryable", "/s", [batches * A_BATCH / (watch.found_at[-1] - began)]),
        Figure("the last third", "/s", [last_third]),
        Figure("lag, p50", "ms", [statistics.median(watch.lags)]),
        Figure("lag, p99", "ms", [statistics.quantiles(watch.lags, n=100)[98]]),
    ]


def _on_disk(mesh: EmbeddedMesh, expected: int) -> list[Figure]:
    """Sizes, and the bare COPY. Every record has to be there exactly once, and the counts have to say so."""
    with mesh.admin.connect(autocommit=True) as database:
        database.execute("SET search_path = logging")
        _wait_for_repeats(database)
        of_ours = "FROM records WHERE service = 'bot_manager'"
        assert database.execute(f"SELECT count(*) {of_ours}").fetchone() == (expected,)
        counted = "SELECT sum(count)::bigint FROM record_counts WHERE service = 'bot_manager'"
        assert database.execute(counted).fetchone() == (expected,)
        whole, words = _sizes(database)
        rate = _bare_copy(database, min(expected, COPIED))
    return [
        Figure("on disk", "B a record", [whole / expected]),
        Figure("of that the text index", "B a record", [words / expected]),
        Figure("bare COPY", "/s", [rate]),
    ]


def _wait_for_repeats(database: psycopg.Connection) -> None:
    """What was sent twice comes last; two seconds without a new batch mean that there is nothing left."""
    last = None
    while (now := database.execute("SELECT last FROM batch_numbers").fetchone()) != last:
        last = now
        time.sleep(2)


def _sizes(database: psycopg.Connection) -> tuple[int, int]:
    whole = database.execute(
        "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree('records') WHERE isleaf"
    ).fetchone()
    words = database.execute(
        "SELECT sum(pg_relation_size(relid))::bigint FROM pg_partition_tree('records_text') WHERE isleaf"
    ).fetchone()
    assert whole is not None
    assert words is not None
    return whole[0], words[0]


def _bare_copy(database: psycopg.Connection, count: int) -> float:
    """Rows a second."""
    database.execute("CREATE TABLE plain (LIKE records)")
    with tempfile.TemporaryFile() as rows:
        with database.cursor().copy("COPY (SELECT * FROM records LIMIT %s) TO STDOUT", [count]) as out:
            for chunk in out:
                rows.write(chunk)
        rows.seek(0)
        began = time.perf_counter()
        with database.cursor().copy("COPY plain FROM STDIN") as into:
            while chunk := rows.read(1 << 16):
                into.write(chunk)
        return count / (time.perf_counter() - began)
