"""Doors that X has closed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.domain.retry import Hold, Scope
from services.bot_manager.publishing.gate import Gate

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BOT = Bot("bot-1", "acme", BotState.ACTIVE, NOW, NOW)


def hold(scope: Scope, minutes: int) -> Hold:
    return Hold(scope, NOW + minutes * MINUTE, "X_RATE_LIMITED", "later")


def test_a_hold_stops_its_bot_and_no_other_until_it_ends() -> None:
    """One account's limit is not another's."""
    gate = Gate()
    gate.close(BOT, hold(Scope.BOT, 5))
    assert gate.hold(BOT, NOW) is not None
    assert gate.hold(replace(BOT, id="bot-2"), NOW) is None
    assert gate.hold(BOT, NOW + 5 * MINUTE) is None


def test_a_hold_of_the_app_stops_all_its_bots() -> None:
    """Credits are the app's."""
    gate = Gate()
    mine, theirs = replace(BOT, app_id="app-1"), replace(BOT, id="bot-2", app_id="app-1")
    gate.close(mine, hold(Scope.APP, 5))
    assert gate.hold(theirs, NOW) is not None
    assert gate.hold(replace(BOT, id="bot-3", app_id="app-2"), NOW) is None
    assert gate.hold(replace(BOT, id="bot-4"), NOW) is None


def test_the_longest_hold_counts() -> None:
    """A shorter one that comes later must not open the door early."""
    gate = Gate()
    gate.close(BOT, hold(Scope.BOT, 9))
    gate.close(BOT, hold(Scope.BOT, 5))
    assert gate.hold(BOT, NOW + 6 * MINUTE) is not None
    gate.reopen(BOT.id)
    assert gate.hold(BOT, NOW) is None


def test_holds_that_are_over_are_swept_out() -> None:
    """A fleet of thousands must not grow the memory for ever."""
    gate = Gate()
    gate.close(BOT, hold(Scope.BOT, 5))
    gate.sweep(NOW + 6 * MINUTE)
    assert gate._holds == {}
