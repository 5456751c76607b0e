"""Counting records on real PostgreSQL: from the counts kept by the minute and from the records themselves, always the same numbers."""

import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from google.protobuf.json_format import MessageToDict

from mesh.database import Database
from mesh.ids import new_id
from services.logging.domain.histogram import Buckets, Grouping, buckets
from services.logging.domain.records import Filter, Record
from services.logging.store.histogram import PostgresRecordCounter
from tests.integration.services.logging.rows import NOON, record, searching_in, store
from vivesphere.logging.v1 import log_service_pb2

EVERY = {"kept": "yes"}
"""What all records here have: a filter that restricts nothing, and that records are not counted by."""
Numbers = Counter[tuple[datetime, object]]


async def numbers(
    counter: PostgresRecordCounter, wanted: Filter, asked: Buckets, grouping: Grouping
) -> Numbers:
    tallies = await counter.count(wanted, asked, grouping, seconds=10)
    return Counter({(tally.bucket, tally.group): tally.count for tally in tallies})


def by_hand(rows: list[Record], wanted: Filter, asked: Buckets, grouping: Grouping) -> Numbers:
    found: Numbers = Counter()
    for row in rows:
        if not (asked.start <= row.time < asked.end and row.severity >= wanted.min_severity):
            continue
        if (wanted.categories and row.category not in wanted.categories) or (
            wanted.service and row.service != wanted.service
        ):
            continue
        bucket = asked.first + (row.time - asked.first) // asked.interval * asked.interval
        level = 0 if row.severity == 0 else (row.severity - 1) // 4 * 4 + 1
        groups = {
            Grouping.NOTHING: None,
            Grouping.SEVERITY: level,
            Grouping.SERVICE: row.service,
            Grouping.CATEGORY: row.category,
        }
        found[bucket, groups[grouping]] += 1
    return found


async def test_counts_and_records_give_the_same_numbers(database: Database) -> None:
    """Whatever the range, its ends within minutes or on them, the width, the filter and the grouping."""
    chance, services = random.Random(11), (new_id(), new_id())  # noqa: S311 - test data
    start = NOON - timedelta(days=40)  # a place in time that no other test uses
    rows = [
        record(
            start
            + timedelta(minutes=chance.randrange(90), seconds=chance.choice((0, 0, 1, 59, 59.999999, 30.5))),
            category=chance.randint(1, 4),
            severity=chance.choice((0, 1, 4, 5, 9, 10, 12, 13, 17, 24)),
            service=chance.choice(services),
            attributes=EVERY,
        )
        for _ in range(1_500)
    ]
    await store(database, rows)
    counter = PostgresRecordCounter(database)
    for _ in range(60):
        since = start + timedelta(seconds=chance.choice((-60, 0, 1, 61.5, 600, 3_599.999999, 3_600)))
        width = chance.choice((None, 60, 120, 420, 7, 90))
        length = chance.choice((0.5, 59, 60, 61, 600, 3_333))
        asked = buckets(since, since + timedelta(seconds=length), width)
        wanted = Filter(
            categories=chance.choice(((), (2,), (1, 4))),
            min_severity=chance.choice((0, 1, 9, 13, 20)),
            service=chance.choice(("", services[0])),
        )
        grouping = chance.choice(list(Grouping))
        found = await numbers(counter, wanted, asked, grouping)
        assert found == await numbers(counter, replace(wanted, attributes=EVERY), asked, grouping)
        assert found == by_hand(rows, wanted, asked, grouping)


async def test_buckets_have_no_gaps_and_groups_have_names(database: Database) -> None:
    """As the contract says; a chart needs the empty ones too."""
    service = new_id()
    times = (NOON, NOON + timedelta(minutes=5), NOON + timedelta(minutes=5, seconds=59))
    await store(
        database,
        [record(time, service=service, severity=9 + n * 5) for n, time in enumerate(times)],
    )
    searching = searching_in(database)
    request = log_service_pb2.GetLogHistogramRequest(
        service=service, group_by=log_service_pb2.LOG_GROUPING_SEVERITY
    )
    request.start_time.FromDatetime(NOON - timedelta(seconds=30))
    request.end_time.FromDatetime(NOON + timedelta(minutes=6))
    request.interval.seconds = 120
    answer = await searching.histogram(request)
    assert MessageToDict(answer) == {
        "interval": "120s",
        "totalCount": 3,
        "buckets": [
            {"startTime": "2026-03-01T11:58:00Z"},
            {"startTime": "2026-03-01T12:00:00Z", "count": 1, "groups": {"SEVERITY_INFO": 1}},
            {"startTime": "2026-03-01T12:02:00Z"},
            {
                "startTime": "2026-03-01T12:04:00Z",
                "count": 2,
                "groups": {"SEVERITY_WARN": 1, "SEVERITY_ERROR": 1},
            },
        ],
    }
    request.group_by = log_service_pb2.LOG_GROUPING_CATEGORY
    request.ClearField("interval")
    answer = await searching.histogram(request)
    assert sum(dict(bucket.groups).get("LOG_CATEGORY_DEBUG", 0) for bucket in answer.buckets) == 3
    assert 30 <= len(answer.buckets) <= 120
