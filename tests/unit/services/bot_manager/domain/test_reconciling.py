"""When looks at an account settle a post."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bot_manager.domain.model import AttemptOutcome, Bot, BotState
from services.bot_manager.domain.reconciling import (
    LEAST_CLEAN,
    SEND_AGAIN_POLICY,
    SKEW,
    History,
    Lost,
    Next,
    Window,
    judge,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DEFAULT = Window(SECOND * 10, SECOND * 600)
AGAIN = Bot("b", "acme", BotState.ACTIVE, START, START, policy={"unknown_outcome": SEND_AGAIN_POLICY})
ASKS = Bot("b", "acme", BotState.ACTIVE, START, START)


def history(looks: int = 0, clean: int = 0, *outcomes: AttemptOutcome | None) -> History:
    calls = [Lost(START, START + SECOND, outcome) for outcome in outcomes or (AttemptOutcome.UNKNOWN,)]
    return History(calls, looks, clean)


def at(seconds: float) -> datetime:
    """So long after the outcome was lost."""
    return START + SECOND + timedelta(seconds=seconds)


def test_looks_grow_apart_and_the_last_is_at_the_windows_end() -> None:
    """The documented numbers."""
    assert DEFAULT.marks() == [SECOND * 10, SECOND * 40, SECOND * 160, SECOND * 600]
    assert Window(timedelta(), SECOND * 5).marks() == [SECOND * 5]
    assert Window(SECOND * 5, SECOND * 5).marks() == [SECOND * 5]


@given(
    looks=st.integers(0, 50),
    clean_before=st.integers(0, 50),
    clean=st.booleans(),
    seconds=st.floats(-3600, 100_000),
    outcome=st.sampled_from([AttemptOutcome.UNKNOWN, AttemptOutcome.DUPLICATE, None]),
    lost=st.integers(1, 10),
)
def test_nothing_is_sent_again_without_clean_looks_over_the_whole_window(
    looks: int,
    clean_before: int,
    clean: bool,
    seconds: float,
    outcome: AttemptOutcome | None,
    lost: int,
) -> None:
    """The rule that stands between an outage and a double."""
    past = history(looks, min(clean_before, looks), *[AttemptOutcome.UNKNOWN] * (lost - 1), outcome)
    verdict = judge(AGAIN, past, clean, at(seconds), DEFAULT, 8)
    proven = clean and seconds >= 600 and past.clean_looks + 1 >= LEAST_CLEAN
    again = proven and outcome is not AttemptOutcome.DUPLICATE and lost < 8
    assert (verdict.next is Next.SEND_AGAIN) is again
    assert (verdict.next is Next.LOOK) is not proven
    assert (verdict.pause is not None) is (verdict.next is Next.LOOK)
    assert verdict.pause is None or timedelta() < verdict.pause <= timedelta(hours=1, minutes=10)
    assert judge(ASKS, past, clean, at(seconds), DEFAULT, 8).next is (Next.ASK if proven else Next.LOOK)


def test_the_next_look_is_at_the_next_mark() -> None:
    """Reads cost money; each is worth more than the one before."""
    for seconds, pause in ((0, 10), (10, 30), (40, 120), (160, 440)):
        verdict = judge(ASKS, history(), True, at(seconds), DEFAULT, 8)
        assert verdict.pause == SECOND * pause


def test_a_single_clean_look_after_the_window_is_followed_by_another_soon() -> None:
    """As after a pause of the bot that was longer than the window."""
    assert judge(AGAIN, history(), True, at(5000), DEFAULT, 8).pause == SECOND * 10
    assert judge(AGAIN, history(1, 1), True, at(5010), DEFAULT, 8).next is Next.SEND_AGAIN


def test_looks_that_keep_failing_become_rare_and_never_end() -> None:
    """An account that cannot be read for a day costs two dozen tries."""
    pauses = [judge(AGAIN, history(looks, 0), False, at(5000), DEFAULT, 8).pause for looks in range(40)]
    assert pauses == sorted(pauses, key=lambda pause: pause or SECOND)
    assert pauses[-1] == timedelta(hours=1)


@pytest.mark.parametrize(
    ("bot", "past", "words"),
    [
        (ASKS, history(3, 3), "complete reads"),
        (AGAIN, history(3, 3, AttemptOutcome.UNKNOWN, AttemptOutcome.DUPLICATE), "already"),
        (AGAIN, history(3, 3, *[AttemptOutcome.UNKNOWN] * 8), "8 calls were lost"),
    ],
)
def test_a_person_is_told_why_and_what_to_do(bot: Bot, past: History, words: str) -> None:
    """The message is all that somebody sees who is woken by it."""
    verdict = judge(bot, past, True, at(600), DEFAULT, 8)
    assert verdict.next is Next.ASK
    assert words in verdict.message
    assert "ResolvePost" in verdict.message


def test_a_part_looks_back_over_the_whole_window_at_least() -> None:
    """Else two parts with the same text could take each other's post and leave one that is too old for either."""
    assert DEFAULT.reach == SKEW
    assert Window(SECOND, timedelta(hours=2)).reach == timedelta(hours=2)
