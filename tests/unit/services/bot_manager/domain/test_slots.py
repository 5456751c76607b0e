"""The next free slot: first moment of the bot's slots that nothing speaks against."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mesh.errors import FailedPrecondition
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.domain.slots import DAYS_AHEAD, Taken, next_free

ZURICH = ZoneInfo("Europe/Zurich")
NOW = datetime(2026, 5, 1, 10, tzinfo=UTC)
"""A Friday, 12:00 in Zurich."""
BOT = Bot("b", "acme", BotState.ACTIVE, NOW, NOW, time_zone="Europe/Zurich")


def local(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZURICH, fold=fold).astimezone(UTC)


def bot(*slots: Any, **policy: Any) -> Bot:
    given = tuple({"at": slot} if isinstance(slot, str) else slot for slot in slots)
    return replace(BOT, slots=given, policy=policy or None)


def taken(*times: str, parts: int = 1) -> list[Taken]:
    return [Taken(local(one), parts) for one in times]


@pytest.mark.parametrize(
    ("slots", "others", "found"),
    [
        (["18:00", "09:00"], [], "2026-05-01T18:00"),
        (["12:00"], [], "2026-05-02T12:00"),
        (["09:00", "18:00"], ["2026-05-01T18:00"], "2026-05-02T09:00"),
        (["09:00", "18:00"], ["2026-05-01T18:01"], "2026-05-01T18:00"),
        ([{"at": "08:00", "days": ["MONDAY", "WEDNESDAY"]}], ["2026-05-04T08:00"], "2026-05-06T08:00"),
        (["18:00", "18:00"], [], "2026-05-01T18:00"),
    ],
)
def test_the_earliest_slot_that_no_other_post_has(slots: Any, others: list[str], found: str) -> None:
    """Two posts in one slot would be what slots are there to prevent."""
    assert next_free(bot(*slots), NOW, taken(*others)) == local(found)


def test_a_slot_in_a_black_out_window_is_passed_over() -> None:
    """The post would only wait for the window's end."""
    windows = [{"days": ["FRIDAY", "SATURDAY", "SUNDAY"]}]
    assert next_free(bot("09:00", blackout_windows=windows), NOW, []) == local("2026-05-04T09:00")


def test_a_slot_that_is_too_close_to_another_post_is_passed_over() -> None:
    """Before or after: both would break the bot's least distance."""
    spaced = bot("14:00", "15:00", "16:00", "17:00", min_interval="3600s")
    assert next_free(spaced, NOW, taken("2026-05-01T14:30")) == local("2026-05-01T16:00")
    assert next_free(spaced, NOW, taken("2026-05-01T15:00")) == local("2026-05-01T14:00")
    assert next_free(spaced, NOW, taken("2026-05-01T14:00", "2026-05-01T16:00")) == local("2026-05-01T15:00")
    assert next_free(spaced, NOW, taken("2026-05-01T13:00:01")) == local("2026-05-01T15:00")


def test_a_day_that_is_full_is_passed_over_and_parts_count() -> None:
    """What is beyond the day's number would be put off to midnight."""
    few = bot("14:00", "16:00", max_posts_per_day=3)
    assert next_free(few, NOW, taken("2026-05-01T08:00", parts=2)) == local("2026-05-01T14:00")
    assert next_free(few, NOW, taken("2026-05-01T08:00", parts=2), parts=2) == local("2026-05-02T14:00")
    assert next_free(few, NOW, taken("2026-05-01T08:00", parts=3)) == local("2026-05-02T14:00")
    assert next_free(few, NOW, [], parts=25) == local("2026-05-01T14:00")


def test_a_slot_in_the_gap_moves_behind_it_and_one_that_comes_twice_is_the_earlier() -> None:
    """As the contract says of slots."""
    assert next_free(bot("02:30"), local("2026-03-28T12:00"), []) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert next_free(bot("02:30"), local("2026-10-24T12:00"), []) == local("2026-10-25T02:30", fold=0)
    both = bot("02:30", "03:00")
    gap = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert next_free(both, local("2026-03-28T12:00"), [Taken(gap)]) == local("2026-03-30T02:30")


@pytest.mark.parametrize(
    ("slots", "policy"),
    [((), {}), (("09:00",), {"blackout_windows": [{}]}), (("09:00",), {"blackout_windows": [{}] * 100})],
)
def test_a_bot_without_a_free_slot_says_so(slots: Any, policy: Any) -> None:
    """The search ends, and the caller can act."""
    with pytest.raises(FailedPrecondition) as raised:
        next_free(bot(*slots, **policy), NOW, [])
    assert raised.value.reason == "NO_FREE_SLOT"


def test_the_search_ends_after_a_year() -> None:
    """Beyond that nobody means what they ask for."""
    full = [Taken(local("2026-05-01T18:00") + timedelta(days=n)) for n in range(-2, DAYS_AHEAD + 3)]
    with pytest.raises(FailedPrecondition):
        next_free(replace(bot("16:00"), time_zone="UTC"), NOW, full)
