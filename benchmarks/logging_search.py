"""How long a search takes in ten days of logs.

range       a page of 50 of the newest records before a time, and of an hour somewhere; aim: p95 ≤ 100 ms
filtered    severity and category, service, bot, call, attribute; aim: p95 ≤ 200 ms
text        a word that is in every record, one in fifty, a handful, and none at all; newest and oldest first; aim: p95 ≤ 1 s
histogram   all ten days by severity (from the counts), one day by service, a word within a day (from the records); aim: p95 ≤ 500 ms

Records are made by SQL in the database, then vacuumed and analysed as autovacuum does with days that are over. Each query is asked of the
store as the service asks it, in a process of its own beside PostgreSQL, in turn with all others of its kind and with values that change, so
that no page of the answer is warm from the time before by more than chance. VIVESPHERE_BENCHMARK_RECORDS makes it fewer than 10 million.
"""

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from psycopg import Connection, sql

from benchmarks.report import Figure, console, print_figures
from cli.embedded import EmbeddedMesh
from mesh.database import open_database
from services.logging.domain.histogram import Grouping, buckets
from services.logging.domain.records import Filter
from services.logging.store.histogram import PostgresRecordCounter
from services.logging.store.search import PostgresRecordSearch
from tests.fakes.engines import settings_of

RECORDS = int(os.environ.get("VIVESPHERE_BENCHMARK_RECORDS", "10000000"))
DAYS = 10
START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=DAYS)
SLICE = 100_000
ROUNDS = 40
PAGE = 50
PATIENCE_SECONDS = 120
MILLI = 1e3
NEEDLE_EVERY = 1_000_000

# Ids begin with the time, as those of version 7 do. Of 20 records 14 are of our code, 4 of processes, 1 of consoles, 1 of users; 1 of 25 is a
# warning, 1 of 1,000 an error.
_LOAD = """
INSERT INTO logging.records (id, time, observed_time, category, severity, severity_text, body, service, instance, service_version, actor,
  bot_id, request_id, trace_id, span_id, attributes, batch)
SELECT
  (lpad(to_hex((extract(epoch FROM t) * 1000)::bigint), 12, '0') || '7' || right(md5(i::text), 19))::uuid,
  t, t, CASE WHEN i %% 20 < 14 THEN 2 WHEN i %% 20 < 18 THEN 3 WHEN i %% 20 = 18 THEN 4 ELSE 1 END,
  CASE WHEN i %% 1000 = 0 THEN 17 WHEN i %% 25 = 0 THEN 13 WHEN i %% 3 = 0 THEN 5 ELSE 9 END, '',
  'call ended for path ' || i %% 97 || ' shard' || i %% 5000
    || CASE WHEN i %% 50 = 3 THEN ' retry' ELSE '' END || CASE WHEN i %% %(needle)s = 7 THEN ' needle' ELSE '' END,
  (ARRAY['bot_manager', 'authentication', 'configuration', 'logging', 'secure_bot_data'])[1 + i %% 5], 'host-1/4711', '0.1.0',
  CASE WHEN i %% 4 = 0 THEN 'actor-' || i %% 2000 ELSE '' END, CASE WHEN i %% 3 = 0 THEN 'bot-' || i %% 3000 ELSE '' END,
  'request-' || i / 10, md5((i / 10)::text), left(md5(i::text), 16),
  jsonb_build_object('http.method', 'GET', 'duration_ms', i %% 100, 'path', '/api/v1/posts/' || i %% 1000), 0
FROM (
  SELECT i, %(start)s::timestamptz + i * %(length)s::interval / %(records)s AS t
  FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS i
) AS numbered
"""
_COUNT = """
INSERT INTO logging.record_counts
SELECT date_trunc('minute', time), category, severity, service, 'benchmark', count(*) FROM logging.records GROUP BY 1, 2, 3, 4
"""

Query = Callable[[random.Random], Awaitable[object]]
"""Asks once, with values out of the source of chance."""


async def measure() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as name:
        async with EmbeddedMesh(Path(name) / "data", fsync=False) as mesh:
            await asyncio.to_thread(_load, mesh)
            database = open_database(settings_of(mesh, "logging"), "logging")
            try:
                await _measure(PostgresRecordSearch(database), PostgresRecordCounter(database))
            finally:
                await database.close()


def _load(mesh: EmbeddedMesh) -> None:
    began = time.perf_counter()
    with mesh.admin.connect(autocommit=True) as connection:
        for day in range(DAYS + 1):
            connection.execute("SELECT logging.ensure_day(%s)", ((START + timedelta(days=day)).date(),))
        for first in range(0, RECORDS, SLICE):
            values = {
                "needle": NEEDLE_EVERY,
                "start": START,
                "length": END - START,
                "records": RECORDS,
                "first": first,
                "last": min(first + SLICE, RECORDS) - 1,
            }
            connection.execute(_LOAD, values)
        connection.execute(_COUNT)
        connection.execute("VACUUM ANALYZE logging.records")
        connection.execute("VACUUM ANALYZE logging.record_counts")
        size = _bytes(connection)
    console.print(
        f"\n{RECORDS:,} records in {time.perf_counter() - began:.0f} s, {size / RECORDS:.0f} bytes each with indexes"
    )


def _bytes(connection: Connection) -> int:
    query = sql.SQL("SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('logging.records')")
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


async def _measure(search: PostgresRecordSearch, counter: PostgresRecordCounter) -> None:
    def find(make: Callable[[random.Random], Filter]) -> Query:
        return lambda chance: search.find(make(chance), None, PAGE, seconds=PATIENCE_SECONDS)

    def count(make: Callable[[random.Random], Filter], days: float, grouping: Grouping) -> Query:
        async def ask(chance: random.Random) -> object:
            start = START + (END - START - timedelta(days=days)) * chance.random()
            asked = buckets(start, start + timedelta(days=days), None)
            return await counter.count(make(chance), asked, grouping, seconds=PATIENCE_SECONDS)

        return ask

    def text(words: str, **fields: bool) -> Query:
        return find(lambda chance: Filter(text=words, end_time=END, **fields))

    await _table(
        "Search: time range (aim p95 ≤ 100 ms)",
        {
            "newest of all": find(lambda chance: Filter(end_time=END)),
            "newest before a time": find(lambda chance: Filter(end_time=_some(chance))),
            "an hour, oldest first": find(_hour),
        },
    )
    await _table(
        "Search: filtered (aim p95 ≤ 200 ms)",
        {
            "errors of a category": find(
                lambda chance: Filter(
                    min_severity=17, categories=(chance.randint(2, 3),), end_time=_some(chance)
                )
            ),
            "fatal, of which there are none": find(lambda chance: Filter(min_severity=21)),
            "a service": find(lambda chance: Filter(service="logging", end_time=_some(chance))),
            "a bot": find(lambda chance: Filter(bot_id=f"bot-{chance.randrange(1000) * 3}")),
            "a call": find(lambda chance: Filter(request_id=f"request-{chance.randrange(RECORDS // 10)}")),
            "an attribute, 1 of 100": find(
                lambda chance: Filter(
                    attributes={"duration_ms": str(chance.randrange(100))}, end_time=_some(chance)
                )
            ),
        },
    )
    await _table(
        "Search: text (aim p95 ≤ 1 s)",
        {
            "in every record": text("call"),
            "in 1 of 50": text("retry"),
            "in 1 of 5,000": find(lambda chance: Filter(text=f"shard{chance.randrange(5000)}", end_time=END)),
            f"in 1 of {NEEDLE_EVERY:,}": text("needle"),
            f"in 1 of {NEEDLE_EVERY:,}, oldest first": text("needle", oldest_first=True),
            "in none": find(lambda chance: Filter(text=f"absent{chance.randrange(10**6)}", end_time=END)),
            "rare, of a bot": find(
                lambda chance: Filter(text="needle", bot_id=f"bot-{chance.randrange(1000) * 3}")
            ),
        },
    )
    await _table(
        "Histogram (aim p95 ≤ 500 ms)",
        {
            "ten days by severity": count(lambda chance: Filter(), DAYS, Grouping.SEVERITY),
            "a day by service": count(lambda chance: Filter(min_severity=9), 1, Grouping.SERVICE),
            "ten days of a rare word": count(lambda chance: Filter(text="needle"), DAYS, Grouping.NOTHING),
            "a day of a word in 1 of 50": count(lambda chance: Filter(text="retry"), 1, Grouping.NOTHING),
        },
    )


def _some(chance: random.Random) -> datetime:
    return START + (END - START) * chance.uniform(0.05, 1)


def _hour(chance: random.Random) -> Filter:
    start = _some(chance)
    return Filter(start_time=start, end_time=start + timedelta(hours=1), oldest_first=True)


async def _table(title: str, queries: dict[str, Query]) -> None:
    """Rounds go through all queries, so that they see the same machine and the same cache."""
    chance = random.Random(1)  # noqa: S311 - the same values in every run
    taken: dict[str, list[float]] = {name: [] for name in queries}
    for _ in range(ROUNDS):
        for name, query in queries.items():
            began = time.perf_counter()
            await query(chance)
            taken[name].append((time.perf_counter() - began) * MILLI)
    figures = []
    for name, samples in taken.items():
        figures.append(Figure(f"{name}, p50", "ms", samples))
        figures.append(Figure(f"{name}, p95", "ms", [statistics.quantiles(samples, n=20)[18]]))
    print_figures(f"{title}, {RECORDS:,} records, {ROUNDS} rounds", figures)
