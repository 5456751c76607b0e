"""The loop: follows, goes on after every interruption, says what became of each revision, and starts without anybody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mesh.clock import SystemClock
from mesh.configuration import ConfigurationWatch, SettingRefused
from mesh.configuration.file import CopyFile
from mesh.errors import Unavailable
from mesh.telemetry.metrics import RpcMetrics
from tests.fakes.clock import START, ManualClock
from tests.fakes.configuration import (
    HISTORY,
    FakeConfiguration,
    bookmark,
    fake_configuration,
    resync,
    setting,
    snapshot,
    transaction,
)
from tests.fakes.mesh import until
from tests.unit.mesh.configuration.said import ATTEMPTS, FIXED, LEASE
from vivesphere.configuration.v1 import watch_service_pb2

KEY = b"k" * 32


@dataclass
class Client:
    """A process with its file; `start` as often as it is to run."""

    said: FakeConfiguration
    channel: grpc.aio.Channel
    folder: Path

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ConfigurationWatch]:
        """The process from its start to its end."""
        watch = self.process()
        watch.load()
        running = asyncio.create_task(watch.run())
        try:
            yield watch
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def process(self) -> ConfigurationWatch:
        """One that has not begun yet."""
        clock = SystemClock()
        file = CopyFile(self.folder, "bot_manager", "i-1", KEY, timedelta(hours=72), clock)
        watch = ConfigurationWatch("bot_manager", "i-1", self.channel, clock, file)
        watch.define([ATTEMPTS, LEASE, FIXED])
        return watch

    def on_disk(self) -> bool:
        """Whether the file is there, whole."""
        return any(not path.name.startswith(".") for path in self.folder.iterdir())

    async def acknowledged(self, revision: int) -> watch_service_pb2.AckRevisionRequest:
        """What was said of a revision."""
        await until(lambda: any(item.revision == revision for item in self.said.acknowledged))
        return [item for item in self.said.acknowledged if item.revision == revision][-1]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with fake_configuration() as (said, channel):
        yield Client(said, channel, tmp_path)


async def test_a_snapshot_is_in_force_once_its_last_part_is_here(client: Client) -> None:
    """Half of the roles would refuse half of the people."""
    client.said.say(snapshot(4, setting(ATTEMPTS.key, 5), more=True))
    async with client.running() as watch:
        await until(lambda: bool(client.said.watched))
        client.said.say(snapshot(4, setting(LEASE.key, 30)))
        await until(lambda: watch.revision == 4)
        assert (watch.value(ATTEMPTS), watch.value(LEASE)) == (5, 30)
        assert (await client.acknowledged(4)).outcome == watch_service_pb2.ACK_OUTCOME_APPLIED
        assert [item.key for item in client.said.registered[0].definitions] == [
            ATTEMPTS.key,
            LEASE.key,
            FIXED.key,
        ]


async def test_the_next_stream_begins_where_the_last_one_was_cut(client: Client) -> None:
    """With the history's name, so that a restored database is noticed."""
    client.said.say(snapshot(4), transaction(5, setting(ATTEMPTS.key, 6)))
    async with client.running() as watch:
        await until(lambda: watch.revision == 5)
        client.said.cut(grpc.StatusCode.UNAVAILABLE)
        client.said.say(transaction(6, setting(ATTEMPTS.key, 7)))
        await until(lambda: watch.value(ATTEMPTS) == 7)
        first, second = client.said.watched
        assert (first.from_revision, first.history_id) == (0, "")
        assert (second.from_revision, second.history_id) == (5, HISTORY)


@pytest.mark.parametrize(
    "said",
    [
        transaction(7, setting(ATTEMPTS.key, 9)),
        transaction(5, setting(ATTEMPTS.key, 9)),
        transaction(4, setting(ATTEMPTS.key, 9)),
        bookmark(6),
        resync(),
        watch_service_pb2.WatchResponse(),
    ],
    ids=["a gap", "a repeat", "a step back", "a bookmark ahead", "resync", "something unknown"],
)
async def test_what_cannot_be_continued_begins_again(client: Client, said: Any) -> None:
    """What is in force stays in force until the new snapshot is here."""
    client.said.say(snapshot(4), transaction(5, setting(ATTEMPTS.key, 6)), said)
    async with client.running() as watch:
        await until(lambda: len(client.said.watched) == 2)
        assert client.said.watched[1].from_revision == 0
        assert (watch.revision, watch.value(ATTEMPTS)) == (5, 6)
        client.said.say(snapshot(3, setting(ATTEMPTS.key, 8), history="0190c6a1-0000-7000-8000-0000000000bb"))
        await until(lambda: watch.value(ATTEMPTS) == 8)


async def test_a_compacted_revision_begins_again(client: Client) -> None:
    """OUT_OF_RANGE names the way out."""
    client.said.say(snapshot(4))
    async with client.running() as watch:
        await until(lambda: watch.revision == 4)
        client.said.cut(grpc.StatusCode.OUT_OF_RANGE)
        await until(lambda: len(client.said.watched) == 2)
        assert client.said.watched[1].from_revision == 0


async def test_a_slow_acknowledgement_holds_nothing_up(client: Client) -> None:
    """The newest counts; what became of those between is nobody's question."""
    client.said.acknowledging.clear()
    client.said.say(snapshot(1))
    async with client.running() as watch:
        for revision in range(2, 30):
            client.said.say(transaction(revision, setting(ATTEMPTS.key, revision)))
        await until(lambda: watch.revision == 29)
        client.said.acknowledging.set()
        await client.acknowledged(29)
        assert len(client.said.acknowledged) <= 3


async def test_an_acknowledgement_is_repeated_until_it_is_noted(client: Client) -> None:
    """Else an instance would be shown as behind until the next change, weeks later."""
    client.said.failing_acknowledgements = 2
    client.said.say(snapshot(1))
    async with client.running():
        await client.acknowledged(1)


async def test_a_refused_value_is_told_and_shows_in_health(client: Client) -> None:
    """By schema or by a listener, with a reason and without the value."""
    async with client.running() as watch:
        client.said.say(snapshot(1, setting(ATTEMPTS.key, 4711)))
        told = await client.acknowledged(1)
        assert told.outcome == watch_service_pb2.ACK_OUTCOME_REFUSED
        assert [(item.key, item.reason) for item in told.refusals] == [
            (ATTEMPTS.key, "breaks the rule maximum")
        ]
        with pytest.raises(Unavailable) as shown:
            await watch.check_settings()
        assert ATTEMPTS.key in shown.value.metadata
        client.said.say(transaction(2, setting(ATTEMPTS.key, 7)))
        assert (await client.acknowledged(2)).outcome == watch_service_pb2.ACK_OUTCOME_APPLIED
        await watch.check_settings()


async def test_a_listener_that_raises_keeps_the_process_going(client: Client) -> None:
    """No crash loop: the next revisions come and are applied."""

    def refuse(old: int, new: int) -> None:
        raise SettingRefused("no place for so many")

    watch = client.process()
    watch.on_change(ATTEMPTS, refuse)
    client.said.say(snapshot(1, setting(ATTEMPTS.key, 9)), transaction(2, setting(LEASE.key, 31)))
    running = asyncio.create_task(watch.run())
    told = await client.acknowledged(2)
    assert [(item.key, item.reason) for item in told.refusals] == [(ATTEMPTS.key, "no place for so many")]
    assert (watch.value(ATTEMPTS), watch.value(LEASE)) == (3, 31)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_waits_for_a_restart_is_told(client: Client) -> None:
    """GetRollout shows which instances still run another value."""
    client.said.say(snapshot(1, setting(FIXED.key, 100)))
    async with client.running() as watch:
        await until(lambda: watch.revision == 1)
        assert watch.value(FIXED) == 100
        client.said.say(transaction(2, setting(FIXED.key, 101)))
        assert list((await client.acknowledged(2)).restart_pending_keys) == [FIXED.key]
        assert watch.value(FIXED) == 100


async def test_the_first_word_can_be_waited_for(client: Client) -> None:
    """For what a process takes only at its start; with an end, since configuration may be away."""
    async with client.running() as watch:
        assert not await watch.heard(timedelta(milliseconds=20))
        client.said.say(snapshot(1))
        assert await watch.heard(timedelta(seconds=5))


async def test_a_process_starts_without_configuration_from_its_file(client: Client) -> None:
    """It knows roles and settings at once, says that it stands alone, and goes on from the revision it knows."""
    client.said.say(snapshot(4, setting(ATTEMPTS.key, 5)), bookmark(4))
    async with client.running() as watch:
        assert await watch.heard(timedelta(seconds=5))
        await watch.check()
    client.said.cut()
    await until(client.on_disk)

    watch = client.process()
    with pytest.raises(Unavailable) as refused:
        watch.policy()
    assert refused.value.reason == "POLICY_NOT_LOADED"
    watch.load()
    assert watch.policy().roles["viewer"] == {"posts.read"}
    assert (watch.revision, watch.value(ATTEMPTS)) == (4, 5)
    with pytest.raises(Unavailable, match="last word"):
        await watch.check()
    running = asyncio.create_task(watch.run())
    client.said.say(transaction(5, setting(ATTEMPTS.key, 6)), bookmark(5))
    await until(lambda: watch.value(ATTEMPTS) == 6)
    assert (client.said.watched[-1].from_revision, client.said.watched[-1].history_id) == (4, HISTORY)
    await watch.check()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_copy_without_its_sensitive_values_is_not_continued(client: Client) -> None:
    """Nobody would send them again; a snapshot has them."""
    client.said.say(snapshot(4, setting(ATTEMPTS.key, 5), setting(LEASE.key, 77, sensitive=True)))
    async with client.running() as watch:
        await until(lambda: watch.value(LEASE) == 77)
        await until(client.on_disk)
    client.said.cut()
    async with client.running() as watch:
        assert (watch.value(ATTEMPTS), watch.value(LEASE)) == (5, 60)
        await until(lambda: len(client.said.watched) == 2)
        assert client.said.watched[1].from_revision == 0
        client.said.say(snapshot(4, setting(LEASE.key, 77, sensitive=True)))
        await until(lambda: watch.value(LEASE) == 77)


async def test_a_value_in_force_outlives_a_restart_while_a_newer_one_is_refused(client: Client) -> None:
    """Last known good: the default is not what the process ran with."""
    client.said.say(snapshot(1, setting(ATTEMPTS.key, 20)), transaction(2, setting(ATTEMPTS.key, 4711)))
    async with client.running():
        assert (await client.acknowledged(2)).refusals
    watch = client.process()
    watch.load()
    assert (watch.revision, watch.value(ATTEMPTS)) == (2, 20)


async def test_while_a_value_is_staged_the_guard_is_told_how_calls_end(client: Client) -> None:
    """Once before it is in force, to compare with, then again and again; never while nothing is staged."""
    clock, metrics = ManualClock(), RpcMetrics()
    watch = ConfigurationWatch("bot_manager", "i-1", client.channel, clock, None, metrics.totals)
    watch.define([ATTEMPTS])
    for code in ("OK", "INTERNAL", "NOT_FOUND"):
        metrics.started("/a/b")
        metrics.finished("/a/b", code, 0.1)
    running = asyncio.create_task(watch.run())
    client.said.say(snapshot(1, setting(ATTEMPTS.key, 5)))
    await client.acknowledged(1)
    assert client.said.reported == []
    client.said.say(transaction(2, setting(ATTEMPTS.key, 5, staged=9, share=99)))
    await client.acknowledged(2)
    assert watch.value(ATTEMPTS) == 9
    [(acknowledged, report)] = client.said.reported
    assert acknowledged == 1, "the baseline comes before the revision is in force"
    assert (report.instance, report.calls, report.failed_calls) == ("i-1", 3, 1)
    assert report.count_time.ToDatetime(UTC) == START
    await clock.advance(timedelta(seconds=5))
    await until(lambda: len(client.said.reported) == 2)
    client.said.say(transaction(3, setting(ATTEMPTS.key, 9)))
    await client.acknowledged(3)
    await clock.advance(timedelta(seconds=30))
    assert len(client.said.reported) == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
