"""When a delivery is tried again, when an address rests, and that names of events are the contract's."""

from datetime import UTC, datetime, timedelta

from services.bot_manager.domain.happenings import EventType
from services.bot_manager.domain.snapshots import Snapshot
from services.bot_manager.domain.webhooks import (
    LONGEST_RETRY,
    Webhook,
    WebhookState,
    after_failure,
    after_success,
    pause,
)
from vivesphere.bot_manager.v1 import event_pb2

NOW = datetime(2026, 5, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


def test_pauses_grow_and_end_at_the_longest() -> None:
    """Quick where a receiver restarts, patient where it is away."""
    pauses = [pause(number, 0) for number in range(1, 12)]
    assert pauses[:3] == [timedelta(seconds=10), timedelta(seconds=30), timedelta(seconds=90)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pause(10_000, 0) == LONGEST_RETRY
    assert pause(1, 0.999) >= timedelta(seconds=8)


def test_an_address_rests_ever_longer_and_not_after_a_single_failure() -> None:
    """One refused event must not hold up the others."""
    webhook = Webhook("w", "https://example.org", NOW, NOW)
    rests = []
    for _ in range(20):
        webhook = after_failure(webhook, "it answered 500", NOW, WEEK)
        rests.append(webhook.rest_end_time)
    assert rests[:4] == [None] * 4
    assert rests[4:7] == [NOW + timedelta(seconds=one) for one in (1, 2, 4)]
    assert rests[-1] == NOW + timedelta(minutes=5)
    well = after_success(webhook, NOW)
    assert (well.failure_count, well.rest_end_time, well.failing_since_time) == (0, None, None)
    assert after_success(well, NOW + timedelta(seconds=59)) is well


def test_an_address_is_given_up_by_time_and_not_by_count() -> None:
    """A busy webhook fails a thousand times in a minute; that is a minute."""
    webhook = Webhook("w", "https://example.org", NOW, NOW)
    for _ in range(1000):
        webhook = after_failure(webhook, "it answered 500", NOW, WEEK)
    assert webhook.state is WebhookState.ACTIVE
    assert after_failure(webhook, "it answered 500", NOW + WEEK, WEEK).state is WebhookState.DISABLED


def test_events_have_the_names_of_the_contract() -> None:
    """What is written down can be told."""
    assert {f"EVENT_TYPE_{one}" for one in EventType} == set(event_pb2.EventType.keys()) - {
        "EVENT_TYPE_UNSPECIFIED"
    }


def test_snapshots_are_read_as_postgresql_writes_them() -> None:
    """With and without transactions under way."""
    assert Snapshot.parse("10:20:10,14") == Snapshot(10, 20, (10, 14))
    assert Snapshot.parse("10:10:") == Snapshot(10, 10, ())
