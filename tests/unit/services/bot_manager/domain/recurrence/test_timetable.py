"""Occurrences: rules on the wall clock of a zone, with all that bounds them."""

# ruff: noqa: DTZ001 - wall times have no zone

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.bot_manager.domain.recurrence.model import Adjustment, Occurrence, Schedule
from services.bot_manager.domain.recurrence.timetable import Silence, Timetable, first, jitter, moved_to
from services.bot_manager.domain.recurrence.wallclock import resolve

from .rules import START, cron, rrule

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EDGES = datetime(2027, 3, 27, tzinfo=UTC), datetime(2027, 10, 30, tzinfo=UTC)


def table(schedule: Schedule, since: datetime = START, count: int = 5) -> list[Occurrence]:
    return list(islice(Timetable(schedule).beginning(since), count))


def local(schedule: Schedule, since: datetime = START, count: int = 5) -> list[str]:
    """On the schedule's clock, with offset."""
    return [one.local_time.isoformat(timespec="minutes") for one in table(schedule, since, count)]


@pytest.mark.parametrize("notation", [cron("0 9 * * *"), rrule("FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0")])
def test_nine_stays_nine_in_summer_and_winter(notation: Schedule) -> None:
    """The offset changes, the clock on the wall does not."""
    spring, autumn = EDGES
    assert local(notation, spring, 2) == ["2027-03-27T09:00+01:00", "2027-03-28T09:00+02:00"]
    assert local(notation, autumn, 2) == ["2027-10-30T09:00+02:00", "2027-10-31T09:00+01:00"]


@pytest.mark.parametrize(
    "schedule", [cron("30 2 * * *"), rrule("FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYSECOND=0")]
)
def test_a_time_in_the_gap_is_moved_and_one_that_comes_twice_happens_once(schedule: Schedule) -> None:
    """Neither a day without its post, nor one with two."""
    spring, autumn = EDGES
    found = table(schedule, spring, 3)
    assert [one.local_time.isoformat(timespec="minutes") for one in found] == [
        "2027-03-27T02:30+01:00",
        "2027-03-28T03:00+02:00",
        "2027-03-29T02:30+02:00",
    ]
    assert [one.adjustment for one in found] == [Adjustment.NONE, Adjustment.GAP_MOVED, Adjustment.NONE]
    found = table(schedule, autumn, 3)
    assert [one.nominal_time.isoformat() for one in found] == [
        "2027-10-30T00:30:00+00:00",
        "2027-10-31T00:30:00+00:00",
        "2027-11-01T01:30:00+00:00",
    ]
    assert found[1].adjustment is Adjustment.OVERLAP_FIRST


def test_times_that_fall_together_after_a_gap_are_one_occurrence() -> None:
    """Every quarter of an hour of the gap would otherwise come at 03:00, five posts at once."""
    found = local(cron("*/15 * * * *"), datetime(2027, 3, 28, 0, 30, tzinfo=UTC), 4)
    assert found == [
        f"2027-03-28T{at}" for at in ("01:30+01:00", "01:45+01:00", "03:00+02:00", "03:15+02:00")
    ]


def test_half_hours_of_daylight_saving_are_kept() -> None:
    """Lord Howe moves its clocks by 30 minutes."""
    schedule = cron("15 2 * * *", time_zone="Australia/Lord_Howe")
    found = table(schedule, datetime(2027, 10, 2, 0, tzinfo=UTC), 2)
    assert [one.local_time.isoformat(timespec="minutes") for one in found] == [
        "2027-10-03T02:30+11:00",
        "2027-10-04T02:15+11:00",
    ]
    assert found[0].adjustment is Adjustment.GAP_MOVED


def test_the_rest_of_an_hour_that_comes_twice_is_not_gone_through_again() -> None:
    """From within the second pass the next is after it."""
    second_pass = datetime(2027, 10, 31, 1, 10, tzinfo=UTC)
    assert local(cron("*/20 * * * *"), second_pass, 1) == ["2027-10-31T03:00+01:00"]
    moved = moved_to(cron("*/20 * * * *"), second_pass)
    (found,) = islice(Timetable(moved).occurrences(moved.cursor), 1)
    assert found.nominal_time == datetime(2027, 10, 31, 2, tzinfo=UTC)


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    st.datetimes(datetime(2027, 1, 2), datetime(2029, 1, 1)),
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "15 1,2,3 * * SUN", "0 0 1 * *"]),
)
def test_moving_on_neither_repeats_nor_leaves_out(zone: str, moment: datetime, text: str) -> None:
    """From any moment on, what comes is what would have come by walking there."""
    since = moment.replace(tzinfo=UTC)
    schedule = cron(text, time_zone=zone)
    moved = moved_to(schedule, since)
    ahead = list(islice(Timetable(moved).occurrences(moved.cursor), 4))
    walked = islice(Timetable(schedule).beginning(since - 3 * HOUR), 40)
    after = [one.nominal_time for one in walked if one.nominal_time > since][:4]
    assert [one.nominal_time for one in ahead] == after
    assert all(one.nominal_time > since for one in ahead)


def test_both_days_of_cron_count_if_both_are_restricted() -> None:
    """As in Vixie cron: the 13th, and every Friday."""
    both = local(cron("0 12 13 * FRI"), datetime(2027, 1, 5, tzinfo=UTC), 3)
    assert [one[:10] for one in both] == ["2027-01-08", "2027-01-13", "2027-01-15"]
    one = local(cron("0 12 13 * *"), datetime(2027, 1, 5, tzinfo=UTC), 2)
    assert [day[:10] for day in one] == ["2027-01-13", "2027-02-13"]


@pytest.mark.parametrize("text", ["61 * * * *", "* * 32 * *", "* * * * MOON", "0 0 31 2 *", "@daily x y z w"])
def test_a_cron_rule_that_cannot_be_read_names_its_field(text: str) -> None:
    """Whoever fills in a form has to know where to look."""
    with pytest.raises(InvalidArgument) as refused:
        Timetable(cron(text))
    assert refused.value.violations[0].field == "schedule.recurrence.cron"


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "../etc/passwd", ""])
def test_a_zone_that_is_not_known_names_its_field(zone: str) -> None:
    """A directory of zones is no zone either."""
    with pytest.raises(InvalidArgument) as refused:
        Timetable(cron("0 9 * * *", time_zone=zone))
    assert refused.value.violations[0].field == "schedule.time_zone"


def test_start_and_end_are_instants() -> None:
    """The start counts, the end does not."""
    schedule = cron("0 * * * *", start_time=START, end_time=START + 3 * HOUR)
    assert [one.nominal_time for one in table(schedule)] == [START, START + HOUR, START + 2 * HOUR]


def test_an_rrule_takes_from_the_start_what_it_does_not_say() -> None:
    """The time of day, on the wall; a start within a second means the next."""
    start = datetime(2027, 1, 4, 8, 30, 14, 500, tzinfo=UTC)
    (found,) = table(rrule("FREQ=WEEKLY", start_time=start), count=1)
    assert found.local_time.isoformat() == "2027-01-04T09:30:15+01:00"


def test_until_in_utc_is_an_instant_and_without_z_a_wall_time() -> None:
    """09:00 in Berlin is 08:00 UTC in winter."""
    daily = "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0;UNTIL="
    assert len(table(rrule(f"{daily}20270103T080000Z"))) == 3
    assert len(table(rrule(f"{daily}20270103T075959Z"))) == 2
    assert len(table(rrule(f"{daily}20270103T090000"))) == 3
    assert len(table(rrule(f"{daily}20270103T085959"))) == 2


def test_excluded_dates_and_minutes_are_no_occurrences() -> None:
    """On the schedule's clock."""
    schedule = cron("0 9,18 * * *", exclusions=("2027-01-01", "2027-01-02T18:00"))
    assert [one[:16] for one in local(schedule, count=2)] == ["2027-01-02T09:00", "2027-01-03T09:00"]


def test_an_occurrence_in_a_window_says_why_it_makes_no_post() -> None:
    """Windows of the schedule are on its clock, those of the bot on the bot's."""
    night = {"starts_at": "22:00", "ends_at": "07:00"}
    schedule = cron("0 6,12 * * *", blackout_windows=(night,))
    assert [one.skip_message for one in table(schedule, count=2)] == [
        "a black-out window of the schedule covers it",
        "",
    ]
    elsewhere = Silence(({"starts_at": "06:00", "ends_at": "07:00"},), ZoneInfo("America/New_York"))
    found = list(islice(Timetable(cron("0 6,12 * * *"), elsewhere).beginning(START), 2))
    assert [one.skip_message for one in found] == ["", "a black-out window of the bot covers it"]


@given(st.integers(0, 86_400), st.datetimes(datetime(2027, 1, 1), datetime(2029, 1, 1)))
def test_jitter_is_decided_by_schedule_and_nominal_time(seconds: int, moment: datetime) -> None:
    """The same draw every time, within its bounds, and in whole seconds, so that a preview shows it."""
    schedule, nominal = cron("0 9 * * *", jitter=timedelta(seconds=seconds)), moment.replace(tzinfo=UTC)
    drawn = jitter(schedule, nominal)
    assert timedelta() <= drawn <= timedelta(seconds=seconds)
    assert drawn == jitter(schedule, nominal)


def test_jitter_differs_from_time_to_time() -> None:
    """A draw that is always the same would be a delay."""
    schedule = cron("0 9 * * *", jitter=HOUR)
    assert len({one.scheduled_time - one.nominal_time for one in table(schedule, count=20)}) > 15


def test_a_bound_on_occurrences_ends_a_schedule() -> None:
    """Skipped ones counted: the count is of decisions."""
    assert first(cron("0 9 * * *", max_occurrences=3, occurrence_count=3)) is None
    assert first(cron("0 9 * * *", max_occurrences=3, occurrence_count=2)) is not None


def test_a_historical_change_of_a_zone_is_in_the_instants() -> None:
    """Morocco keeps summer time except in Ramadan; Turkey gave winter time up in 2016."""
    istanbul = ZoneInfo("Europe/Istanbul")
    assert resolve(datetime(2015, 12, 1, 9), istanbul).instant.hour == 7
    assert resolve(datetime(2016, 12, 1, 9), istanbul).instant.hour == 6


def test_new_rules_of_a_zone_move_the_instant_and_not_the_wall_time() -> None:
    """What an occurrence is known by stays, whatever a parliament decides."""

    def rules_of(name: str) -> ZoneInfo:
        with (files("tzdata.zoneinfo.Europe") / name).open("rb") as file:
            return ZoneInfo.from_file(file, key="Europe/Berlin")

    old, new = rules_of("Berlin"), rules_of("Moscow")
    wall = datetime(2027, 7, 1, 9)
    assert resolve(wall, old).instant.hour == 7
    assert resolve(wall, new).instant.hour == 6
