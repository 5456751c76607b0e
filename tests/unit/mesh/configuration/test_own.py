"""What a process makes of what configuration says."""

import asyncio
from typing import Any

import pytest

from mesh.configuration import Group, SettingDefinition, SettingRefused, SettingsView, Snapshot
from mesh.configuration.own import OwnSettings
from mesh.configuration.staged import within_share
from tests.unit.mesh.configuration.said import ATTEMPTS, CHANGE, FIXED, LEASE, WORDS, said, staged


class Publish(SettingsView):
    """Two settings that belong together."""

    max_attempts = ATTEMPTS
    lease = LEASE


class BotManager(SettingsView):
    """As a service would name all it has."""

    publish = Group(Publish)
    words = WORDS


@pytest.fixture
def own() -> OwnSettings:
    """A process that uses four settings."""
    own = OwnSettings("one")
    own.use([ATTEMPTS, LEASE, WORDS, FIXED])
    return own


def test_settings_are_read_by_name_from_one_snapshot(own: OwnSettings) -> None:
    """Work that began with a snapshot ends with it, whatever changes meanwhile."""
    own.accept(said(1, (ATTEMPTS, 5), (LEASE, 30.5)))
    settings = BotManager(own.current)
    own.accept(said(2, (ATTEMPTS, 6), (LEASE, 31)))
    assert (settings.publish.max_attempts, settings.publish.lease) == (5, 30.5)
    assert BotManager(own.current).publish.max_attempts == 6
    assert BotManager(own.current).words == []


def test_a_view_cannot_call_a_setting_otherwise() -> None:
    """`settings.publish.max_attempts` is the key without its service, or it is a riddle."""
    with pytest.raises((TypeError, RuntimeError)):
        type("Wrong", (SettingsView,), {"tries": ATTEMPTS})


def test_a_reader_cannot_change_what_others_read(own: OwnSettings) -> None:
    """Lists and objects are copies."""
    own.accept(said(1, (WORDS, ["acme"])))
    BotManager(own.current).words.append("mine")
    assert BotManager(own.current).words == ["acme"]


def test_before_configuration_has_spoken_defaults_are_in_force(own: OwnSettings) -> None:
    """And nobody holds a role."""
    assert own.current.value(ATTEMPTS) == 3
    assert own.current.policy is None


def test_a_value_that_breaks_its_law_leaves_the_old_one(own: OwnSettings) -> None:
    """The reason names the rule and never the value: it travels to a screen."""
    own.accept(said(1, (ATTEMPTS, 5), (LEASE, 30)))
    own.accept(said(2, (ATTEMPTS, 4711), (LEASE, 31)))
    assert (own.current.value(ATTEMPTS), own.current.value(LEASE)) == (5, 31)
    assert own.refusals == {ATTEMPTS.key: "breaks the rule maximum"}
    own.accept(said(3, (ATTEMPTS, 7), (LEASE, 31)))
    assert own.current.value(ATTEMPTS) == 7
    assert own.refusals == {}


def test_a_setting_that_is_gone_has_its_default_again(own: OwnSettings) -> None:
    """No service defines it any more; ours still reads it."""
    own.accept(said(1, (ATTEMPTS, 5)))
    own.accept(said(2))
    assert own.current.value(ATTEMPTS) == 3


def test_a_staged_value_counts_within_its_share_only() -> None:
    """Unset means the default, and everybody else keeps the value in force."""
    inside = next(f"i-{n}" for n in range(100) if within_share(CHANGE, f"i-{n}", 30))
    outside = next(f"i-{n}" for n in range(100) if not within_share(CHANGE, f"i-{n}", 30))
    for instance, value, default in ((inside, 9, 3), (outside, 5, 5)):
        own = OwnSettings(instance)
        own.use([ATTEMPTS])
        own.accept(said(1, (ATTEMPTS, staged(5, (9,), 30))))
        assert own.current.value(ATTEMPTS) == value
        own.accept(said(2, (ATTEMPTS, staged(5, (), 30))))
        assert own.current.value(ATTEMPTS) == default


def test_a_staged_value_can_be_refused_as_any_other() -> None:
    """That is what gradual roll-out is for: a few say no before all have it."""
    inside = next(f"i-{n}" for n in range(100) if within_share(CHANGE, f"i-{n}", 30))
    own = OwnSettings(inside)
    own.use([ATTEMPTS])
    own.accept(said(1, (ATTEMPTS, 5)))
    own.accept(said(2, (ATTEMPTS, staged(5, (99,), 30))))
    assert own.current.value(ATTEMPTS) == 5
    assert ATTEMPTS.key in own.refusals
    own.accept(said(3, (ATTEMPTS, 5)))
    assert own.refusals == {}


def test_listeners_hear_old_and_new_in_order_and_only_of_changes(own: OwnSettings) -> None:
    """After the swap: whoever looks around in a listener sees the new state, whole."""
    heard: list[Any] = []
    own.on_change(ATTEMPTS, lambda old, new: heard.append(("first", old, new, own.current.value(LEASE))))
    own.on_change(LEASE, lambda old, new: heard.append(("lease", old, new)))
    own.on_change(ATTEMPTS, lambda old, new: heard.append(("second", old, new)))
    own.accept(said(1, (ATTEMPTS, 3), (LEASE, 60)))
    assert heard == [], "what equals the default is no change"
    own.accept(said(2, (ATTEMPTS, 5), (LEASE, 31)))
    assert heard == [("first", 3, 5, 31), ("lease", 60, 31), ("second", 3, 5)]
    own.accept(said(3, (ATTEMPTS, 5), (LEASE, 31), (WORDS, ["x"])))
    assert len(heard) == 3


def test_settings_that_belong_together_are_told_together(own: OwnSettings) -> None:
    """One call a revision, with both snapshots."""
    heard: list[tuple[int, float]] = []

    def together(old: Snapshot, new: Snapshot) -> None:
        heard.append((new.value(ATTEMPTS), new.value(LEASE)))

    own.on_change_of([ATTEMPTS, LEASE], together)
    own.accept(said(1, (ATTEMPTS, 5), (LEASE, 31)))
    own.accept(said(2, (ATTEMPTS, 5), (LEASE, 32)))
    assert heard == [(5, 31), (5, 32)]


def test_a_listener_that_raises_refuses_the_value_once(own: OwnSettings) -> None:
    """The old value is in force, those who had taken the new one are told, and nothing is tried again until it is another."""
    tried: list[int] = []
    applied = [3]

    def take(old: int, new: int) -> None:
        applied.append(new)

    def picky(old: int, new: int) -> None:
        tried.append(new)
        if new == 7:
            raise SettingRefused("the pool cannot grow that far")

    own.on_change(ATTEMPTS, take)
    own.on_change(ATTEMPTS, picky)
    own.accept(said(1, (ATTEMPTS, 5), (LEASE, 31)))
    own.accept(said(2, (ATTEMPTS, 7), (LEASE, 32)))
    assert own.current.value(ATTEMPTS) == 5
    assert own.current.value(LEASE) == 32
    assert own.refusals == {ATTEMPTS.key: "the pool cannot grow that far"}
    assert applied == [3, 5, 7, 5]
    own.accept(said(3, (ATTEMPTS, 7), (LEASE, 33)))
    assert tried == [5, 7], "no second try of the same value"
    assert own.current.value(ATTEMPTS) == 5
    own.accept(said(4, (ATTEMPTS, 8), (LEASE, 33)))
    assert (own.current.value(ATTEMPTS), own.refusals) == (8, {})


def test_what_an_unexpected_error_says_stays_here(own: OwnSettings) -> None:
    """Its text may quote the value."""

    def fails(old: float, new: float) -> None:
        raise ValueError(f"cannot use {new}")

    own.on_change(LEASE, fails)
    own.accept(said(1, (LEASE, 77.5)))
    assert own.refusals == {LEASE.key: "the service failed on it (ValueError)"}
    assert own.current.value(LEASE) == 60


def test_those_that_belong_together_are_refused_together(own: OwnSettings) -> None:
    """And a listener of one of them is told that it is back."""
    lone: list[float] = []
    own.on_change(LEASE, lambda old, new: lone.append(new))

    def refuse(old: Snapshot, new: Snapshot) -> None:
        raise SettingRefused("a lease must outlast all attempts")

    own.on_change_of([ATTEMPTS, LEASE], refuse)
    own.accept(said(1, (ATTEMPTS, 50), (LEASE, 5), (WORDS, ["x"])))
    assert (own.current.value(ATTEMPTS), own.current.value(LEASE)) == (3, 60)
    assert own.current.value(WORDS) == ["x"]
    assert lone == [5, 60]
    assert set(own.refusals) == {ATTEMPTS.key, LEASE.key}


def test_an_earlier_value_may_come_back_after_a_refusal(own: OwnSettings) -> None:
    """The memory of a refusal is of one value, not of the setting."""
    refuse = [True]

    def sometimes(old: int, new: int) -> None:
        if refuse[0]:
            raise SettingRefused("not now")

    own.on_change(ATTEMPTS, sometimes)
    own.accept(said(1, (ATTEMPTS, 9)))
    own.accept(said(2, (ATTEMPTS, 3)))
    assert own.refusals == {}
    refuse[0] = False
    own.accept(said(3, (ATTEMPTS, 9)))
    assert own.current.value(ATTEMPTS) == 9


def test_listeners_cannot_wait(own: OwnSettings) -> None:
    """A coroutine nobody awaits would do nothing, silently; and what is fixed until a restart never changes."""

    async def later(old: int, new: int) -> None:
        await asyncio.sleep(0)

    with pytest.raises(TypeError, match="cannot wait"):
        own.on_change(ATTEMPTS, later)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="does not change"):
        own.on_change(FIXED, lambda old, new: None)


def test_what_needs_a_restart_keeps_the_first_value_that_was_read(own: OwnSettings) -> None:
    """It is told as pending only while the process really runs another value."""
    own.accept(said(1, (FIXED, 100)))
    own.accept(said(2, (FIXED, 101)))
    assert own.restart_pending == [], "nobody has read it yet"
    assert own.current.value(FIXED) == 101
    own.accept(said(3, (FIXED, 102)))
    assert own.current.value(FIXED) == 101
    assert own.restart_pending == [FIXED.key]
    own.accept(said(4, (FIXED, 101)))
    assert own.restart_pending == []


def test_a_default_read_before_configuration_answered_is_pending_too(own: OwnSettings) -> None:
    """The process runs with it."""
    assert own.current.value(FIXED) == 200
    own.accept(said(1, (FIXED, 100)))
    assert (own.current.value(FIXED), own.restart_pending) == (200, [FIXED.key])


def test_true_is_not_one(own: OwnSettings) -> None:
    """Python says they are equal, JSON and whoever set it do not."""
    switch: SettingDefinition[Any] = SettingDefinition("bot_manager.switch", 1, {}, "Either.")
    heard: list[Any] = []
    own.on_change(switch, lambda old, new: heard.append(new))
    own.accept(said(1, (switch, True)))
    assert heard == [True]


def test_a_default_that_breaks_its_own_law_does_not_start(own: OwnSettings) -> None:
    """Found by whoever runs the service first, not by an operator."""
    with pytest.raises(ValueError, match="breaks the rule minimum"):
        own.use([SettingDefinition[int]("bot_manager.x", 0, {"minimum": 1}, "X.")])
