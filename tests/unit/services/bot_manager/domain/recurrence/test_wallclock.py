"""Wall times at both edges of daylight saving, in zones of every kind."""

# ruff: noqa: DTZ001 - wall times have no zone

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bot_manager.domain.recurrence.model import Adjustment
from services.bot_manager.domain.recurrence.wallclock import resolve, wall_of

BERLIN, NEW_YORK, LORD_HOWE, KOLKATA, APIA = map(
    ZoneInfo, ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia")
)
ZONES = (BERLIN, NEW_YORK, LORD_HOWE, KOLKATA, APIA, ZoneInfo("Africa/Casablanca"), ZoneInfo("UTC"))
NONE, GAP, TWICE = Adjustment.NONE, Adjustment.GAP_MOVED, Adjustment.OVERLAP_FIRST


@pytest.mark.parametrize(
    ("zone", "wall", "instant", "adjustment"),
    [
        (BERLIN, "2027-03-28T01:59:59", "2027-03-28T00:59:59+00:00", NONE),
        (BERLIN, "2027-03-28T02:00:00", "2027-03-28T01:00:00+00:00", GAP),
        (BERLIN, "2027-03-28T02:30:00", "2027-03-28T01:00:00+00:00", GAP),
        (BERLIN, "2027-03-28T02:59:59", "2027-03-28T01:00:00+00:00", GAP),
        (BERLIN, "2027-03-28T03:00:00", "2027-03-28T01:00:00+00:00", NONE),
        (BERLIN, "2027-10-31T01:59:59", "2027-10-30T23:59:59+00:00", NONE),
        (BERLIN, "2027-10-31T02:00:00", "2027-10-31T00:00:00+00:00", TWICE),
        (BERLIN, "2027-10-31T02:30:00", "2027-10-31T00:30:00+00:00", TWICE),
        (BERLIN, "2027-10-31T03:00:00", "2027-10-31T02:00:00+00:00", NONE),
        (NEW_YORK, "2027-03-14T02:30:00", "2027-03-14T07:00:00+00:00", GAP),
        (NEW_YORK, "2027-11-07T01:30:00", "2027-11-07T05:30:00+00:00", TWICE),
        # Half an hour: 02:00 becomes 02:30, and 02:00 becomes 01:30.
        (LORD_HOWE, "2027-10-03T02:15:00", "2027-10-02T15:30:00+00:00", GAP),
        (LORD_HOWE, "2027-10-03T02:30:00", "2027-10-02T15:30:00+00:00", NONE),
        (LORD_HOWE, "2027-04-04T01:45:00", "2027-04-03T14:45:00+00:00", TWICE),
        (LORD_HOWE, "2027-04-04T02:00:00", "2027-04-03T15:30:00+00:00", NONE),
        (KOLKATA, "2027-03-28T02:30:00", "2027-03-27T21:00:00+00:00", NONE),
        # Samoa went over the date line: there was no 30 December 2011.
        (APIA, "2011-12-30T12:00:00", "2011-12-30T10:00:00+00:00", GAP),
        (APIA, "2011-12-31T00:00:00", "2011-12-30T10:00:00+00:00", NONE),
    ],
)
def test_a_wall_time_is_an_instant(zone: ZoneInfo, wall: str, instant: str, adjustment: Adjustment) -> None:
    """One that is skipped is the first instant after the gap, one that comes twice the earlier."""
    found = resolve(datetime.fromisoformat(wall), zone)
    assert found.instant == datetime.fromisoformat(instant)
    assert found.instant.tzinfo is UTC
    assert found.adjustment is adjustment


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(lambda one: one.replace(microsecond=0)),
    st.sampled_from(ZONES),
)
def test_the_clock_shows_what_was_resolved(wall: datetime, zone: ZoneInfo) -> None:
    """Outside of a gap the wall shows the same time at the instant; after one, the first time that exists."""
    found = resolve(wall, zone)
    shown = wall_of(found.instant, zone)
    if found.adjustment is GAP:
        assert shown > wall
        assert wall_of(found.instant - timedelta(seconds=1), zone) < wall
    else:
        assert shown == wall
    if found.adjustment is TWICE:
        assert found.instant.astimezone(zone).fold == 0


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
    st.integers(0, 100_000),
    st.sampled_from(ZONES),
)
def test_later_on_the_wall_is_never_earlier_in_time(wall: datetime, seconds: int, zone: ZoneInfo) -> None:
    """So a schedule may go from one wall time to the next and never go back in time."""
    wall = wall.replace(microsecond=0)
    assert resolve(wall, zone).instant <= resolve(wall + timedelta(seconds=seconds), zone).instant


PROGRAM = """
from datetime import datetime
from zoneinfo import ZoneInfo
from services.bot_manager.domain.recurrence.wallclock import resolve
print(resolve(datetime(2027, 7, 1, 9), ZoneInfo("Europe/Berlin")).instant.isoformat())
"""


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "nonsense"])
def test_the_zone_of_the_process_counts_for_nothing(zone: str) -> None:
    """Nor does a system without zones of its own: they come with a package."""
    environment = {**os.environ, "TZ": zone, "PYTHONTZPATH": "/nowhere"}
    told = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout.strip() == "2027-07-01T07:00:00+00:00"
