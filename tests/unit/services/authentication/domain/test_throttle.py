"""The throttle's arithmetic: what is counted where, and that nobody waits for good."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.authentication.domain.throttle import (
    FORGET_AFTER,
    Attempts,
    Rules,
    ThrottleRule,
    account_lane,
    device_lanes,
    devices_of,
    prefix,
    stranger_lanes,
    taken_back,
    wait,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RULE = ThrottleRule(free_attempts=3, longest_pause=timedelta(seconds=8))


def test_pauses_begin_after_the_free_attempts_and_double_up_to_the_bound() -> None:
    """A person who mistypes must not notice; a program must."""
    seconds = [RULE.pause(failures).total_seconds() for failures in range(1, 10)]
    assert seconds == [0, 0, 0, 1, 2, 4, 8, 8, 8]


@given(st.integers(min_value=1, max_value=100_000))
def test_no_pause_is_longer_than_the_bound(failures: int) -> None:
    """Slowed down, never locked."""
    assert timedelta() <= RULE.pause(failures) <= RULE.longest_pause


def test_old_failures_are_forgotten() -> None:
    """Last year's typing errors are nobody's business."""
    later = NOW + FORGET_AFTER + SECOND
    assert Attempts(50, NOW, NOW + SECOND).one_more(RULE, later) == Attempts(1, later, later)
    assert Attempts(50, NOW, NOW + SECOND).one_more(RULE, NOW + FORGET_AFTER).failures == 51


def test_one_waits_for_the_slowest_lane() -> None:
    """Coming back earlier would be refused again."""
    counts = {bytes([n]): Attempts(9, NOW, NOW + n * SECOND) for n in (1, 7, 3)}
    assert wait(counts, NOW) == 7 * SECOND
    assert wait(counts, NOW + 8 * SECOND) == wait({}, NOW) == timedelta()


def test_a_lane_without_a_pause_delays_nobody() -> None:
    """Two who sign in at once: the one whose count comes second may have looked at the clock first."""
    later = NOW + timedelta(milliseconds=2)
    assert wait({b"lane": Attempts(0, later, later)}, NOW) == timedelta()
    assert wait({b"lane": Attempts(1, later, later)}, NOW) == timedelta()


def test_lanes_do_not_show_names_nor_addresses() -> None:
    """People type passwords into the field for the name."""
    lanes = stranger_lanes("hunter2", "192.0.2.7")
    assert not any(b"hunter2" in key or b"192.0.2.7" in key for key in lanes.keys)
    assert account_lane("ann") != account_lane("bob")


def test_an_account_s_lanes_lie_together_and_apart_from_its_devices() -> None:
    """So they are forgotten by one statement, and a right password of a stranger's machine leaves a stolen device's count alone."""
    lanes = stranger_lanes("ann", "192.0.2.7")
    assert lanes.pair.startswith(lanes.account)
    assert not lanes.address.startswith(lanes.account)
    assert lanes.keys == (lanes.account, lanes.pair, lanes.address)
    device = device_lanes("ann", b"device")
    assert device.keys == (device.device,)
    assert device.device.startswith(devices_of("ann"))
    assert not device.device.startswith(lanes.account)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.7", "::ffff:192.0.2.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
        ("2001:db8:1:2::1", "2001:0DB8:0001:0002:0000:0000:0000:0009"),
        ("fe80::1%eth0", "fe80::2%eth1"),
        ("", "unix:"),
        ("", "192.0.2.7, 192.0.2.8"),
        ("", "192.0.2.007"),
        ("not an address", "192.0.2.7:443"),
    ],
)
def test_one_customer_is_one_address(one: str, other: str) -> None:
    """An IPv6 customer has 2^64 addresses to guess from, and what is no address must not be a way around."""
    assert prefix(one) == prefix(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.7", "192.0.2.8"),
        ("2001:db8:1:2::1", "2001:db8:1:3::1"),
        ("", "10.0.0.0"),
        ("::", "10.0.0.0"),
    ],
)
def test_two_customers_are_two_addresses(one: str, other: str) -> None:
    """One must not slow down the other."""
    assert prefix(one) != prefix(other)


def test_a_success_takes_back_its_own_count_only() -> None:
    """With nobody in between everything is as before; otherwise the others' failures stay."""
    before = Attempts(4, NOW, NOW + SECOND)
    later = NOW + 5 * SECOND
    counted = before.one_more(RULE, later)
    assert taken_back(counted, before, counted, RULE) == before
    others = Attempts(7, later + SECOND, later + SECOND + RULE.pause(7))
    left = taken_back(others, before, counted, RULE)
    assert left == Attempts(6, others.last_time, others.last_time + RULE.pause(6))


def test_a_success_after_which_nothing_is_left_leaves_nothing() -> None:
    """Tables that only grow end in a full disk."""
    nothing = Attempts(0, NOW, NOW)
    counted = nothing.one_more(RULE, NOW)
    assert taken_back(counted, nothing, counted, RULE) is None
    assert taken_back(counted, None, counted, RULE) is None
    assert taken_back(nothing, None, counted, RULE) is None


@given(free=st.integers(2, 100), pair=st.integers(1, 100))
def test_one_address_never_uses_up_what_an_account_has_free(free: int, pair: int) -> None:
    """Whatever the settings: the owner finds at least one free attempt."""
    rules = Rules(account=ThrottleRule(free, SECOND), pair=ThrottleRule(pair, SECOND))
    assert 1 <= rules.share < free
