"""How often a bot may post, judged from how its posts stand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.bot_manager.domain.model import Bot, BotState, Part, PartState, Post, PostState
from services.bot_manager.domain.pacing import SHORTLY, Pace, Standing, hold

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ZURICH = Bot("b", "acme", BotState.ACTIVE, NOW, NOW, time_zone="Europe/Zurich")
MIDNIGHT = datetime(2026, 5, 1, 22, tzinfo=UTC)


def pace(**policy: object) -> Pace:
    return Pace.of(replace(ZURICH, policy=policy))


def post(parts: int = 1, published: int = 0) -> Post:
    made = tuple(
        Part(n, "x", PartState.PUBLISHED, str(n), NOW) if n < published else Part(n, "x")
        for n in range(parts)
    )
    return Post("p", "b", PostState.CLAIMED, made, NOW, NOW)


def until(pace: Pace, post: Post, standing: Standing) -> datetime | None:
    held = hold(pace, post, standing, NOW)
    return None if held is None else held.until


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (Standing(), None),
        (Standing(last=NOW - 10 * MINUTE), None),
        (Standing(last=NOW - 9 * MINUTE), NOW + MINUTE),
        (Standing(last=NOW), NOW + 10 * MINUTE),
        (Standing(last=NOW - 60 * MINUTE, under_way=1), NOW + SHORTLY),
    ],
)
def test_a_post_waits_until_the_interval_has_passed(standing: Standing, expected: datetime | None) -> None:
    """While another is on its way nobody knows yet when it was; then it is looked at again soon."""
    assert until(pace(min_interval="600s"), post(), standing) == expected


@pytest.mark.parametrize(
    ("put_off", "expected"),
    [([], 9), ([9], 19), ([9, 19], 29), ([5], 15), ([9, 39], 19), ([25], 9), ([29, 9, 19], 39)],
)
def test_posts_that_give_way_line_up(put_off: Sequence[int], expected: int) -> None:
    """If all came back at once, all but one would have to give way again."""
    standing = Standing(last=NOW - MINUTE, put_off=[NOW + n * MINUTE for n in put_off])
    assert until(pace(min_interval="600s"), post(), standing) == NOW + expected * MINUTE


def test_the_parts_of_a_thread_follow_each_other() -> None:
    """The interval is between posts."""
    assert until(pace(min_interval="600s"), post(3, published=1), Standing(last=NOW, under_way=1)) is None


@pytest.mark.parametrize(
    ("parts", "published", "used", "waits"),
    [
        (1, 0, 2, False),
        (1, 0, 3, True),
        (2, 0, 1, False),
        (2, 0, 2, True),
        (5, 0, 0, False),
        (5, 0, 1, True),
        (5, 2, 2, False),
        (5, 3, 3, True),
    ],
)
def test_a_day_has_room_for_so_many_parts(parts: int, published: int, used: int, waits: bool) -> None:
    """A thread begins when the day has room for all of it; one that is longer than any day begins a day and goes on the next."""
    expected = MIDNIGHT if waits else None
    assert until(pace(max_posts_per_day=3), post(parts, published), Standing(used=used)) == expected


def test_a_day_lasts_from_midnight_to_midnight_on_the_bots_clock() -> None:
    """Also when it has 23 or 25 hours."""
    for day, hours in ((29, 23), (28, 24)):
        first, after = pace().day_of(datetime(2026, 3, day, 12, tzinfo=UTC))
        assert after - first == timedelta(hours=hours)
