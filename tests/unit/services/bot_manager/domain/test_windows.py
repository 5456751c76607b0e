"""Black-out windows on the wall clock, and what daylight saving does to them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.bot_manager.domain.windows import FARTHEST, silent_until

ZURICH = ZoneInfo("Europe/Zurich")
NIGHT = {"starts_at": "22:00", "ends_at": "06:00"}


def local(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZURICH, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("windows", "moment", "end"),
    [
        ([], "2026-05-04T12:00", None),
        ([NIGHT], "2026-05-04T21:59:59", None),
        ([NIGHT], "2026-05-04T22:00", "2026-05-05T06:00"),
        ([NIGHT], "2026-05-05T05:59:59", "2026-05-05T06:00"),
        ([NIGHT], "2026-05-05T06:00", None),
        ([{**NIGHT, "days": ["MONDAY"]}], "2026-05-05T03:00", "2026-05-05T06:00"),
        ([{**NIGHT, "days": ["TUESDAY"]}], "2026-05-05T03:00", None),
        ([{}], "2026-05-04T12:00", "+31 days"),
        ([{"days": ["MONDAY"]}], "2026-05-04T00:00", "2026-05-05T00:00"),
        ([{"days": ["MONDAY"]}], "2026-05-05T00:00", None),
        ([{"starts_at": "23:00", "ends_at": "24:00"}], "2026-05-04T23:30", "2026-05-05T00:00"),
        (
            [{"starts_at": "09:00", "ends_at": "09:00", "days": ["MONDAY"]}],
            "2026-05-05T08:59",
            "2026-05-05T09:00",
        ),
        ([{"first_date": "2026-05-04", "last_date": "2026-05-06"}], "2026-05-04T00:00", "2026-05-07T00:00"),
        ([{"first_date": "2026-05-04", "last_date": "2026-05-06"}], "2026-05-03T23:59", None),
        ([{"first_date": "2026-05-04", "last_date": "2026-05-06"}], "2026-05-07T00:00", None),
        ([{**NIGHT, "last_date": "2026-05-04"}], "2026-05-05T01:00", "2026-05-05T06:00"),
        ([NIGHT, {"starts_at": "06:00", "ends_at": "08:30"}], "2026-05-04T23:00", "2026-05-05T08:30"),
        ([{"starts_at": "05:00", "ends_at": "07:00"}, NIGHT], "2026-05-04T23:00", "2026-05-05T07:00"),
        ([{"starts_at": "06:01", "ends_at": "07:00"}, NIGHT], "2026-05-04T23:00", "2026-05-05T06:00"),
        ([{"days": ["FRIDAY", "SATURDAY", "SUNDAY"]}], "2026-05-01T08:00", "2026-05-04T00:00"),
    ],
)
def test_a_moment_is_silent_until_the_windows_around_it_end(
    windows: Any, moment: str, end: str | None
) -> None:
    """A post due inside goes out at that end: too early breaks the silence, too late is late."""
    wanted = local(moment) + FARTHEST if end == "+31 days" else None if end is None else local(end)
    found = silent_until(windows, ZURICH, local(moment))
    if end == "+31 days":
        assert found is not None
        assert wanted is not None
        assert timedelta() <= found - wanted <= timedelta(days=1)
    else:
        assert found == wanted


def test_a_window_that_begins_in_the_gap_begins_after_it() -> None:
    """02:30 does not exist on 29 March; the first instant after the gap is 03:00 summer time."""
    windows = [{"starts_at": "02:30", "ends_at": "04:00"}]
    assert silent_until(windows, ZURICH, local("2026-03-29T01:59:59")) is None
    assert silent_until(windows, ZURICH, datetime(2026, 3, 29, 1, tzinfo=UTC)) == datetime(
        2026, 3, 29, 2, tzinfo=UTC
    )


def test_a_window_that_ends_in_the_hour_that_comes_twice_ends_at_the_second() -> None:
    """Between the two the clock shows times inside the window; nobody wants a post there."""
    windows = [{"starts_at": "22:00", "ends_at": "02:30"}]
    assert silent_until(windows, ZURICH, local("2026-10-25T02:15", fold=1)) == local(
        "2026-10-25T02:30", fold=1
    )
    assert silent_until(windows, ZURICH, local("2026-10-25T02:30", fold=1)) is None


def test_a_night_is_an_hour_shorter_in_spring_and_longer_in_autumn() -> None:
    """Windows are read on the wall clock."""
    for start, hours in (("2026-03-28T22:00", 7), ("2026-10-24T22:00", 9)):
        assert silent_until([NIGHT], ZURICH, local(start)) == local(start) + timedelta(hours=hours)


def test_silence_without_end_is_followed_for_a_month() -> None:
    """It must not be computed for ever; whoever waits looks again then."""
    found = silent_until([{} for _ in range(100)], ZURICH, local("2026-05-04T12:00"))
    assert found is not None
    assert FARTHEST <= found - local("2026-05-04T12:00") < FARTHEST + timedelta(days=1)
