"""RRULE against the examples of RFC 5545, section 3.8.5.3, against dateutil, and against rules that would never end."""

# ruff: noqa: DTZ001 - wall times have no zone

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice, pairwise

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given
from hypothesis import strategies as st

from services.bot_manager.domain.recurrence.expansion import walls
from services.bot_manager.domain.recurrence.rrule import WEEKDAYS, RuleError, parse_rrule

START = datetime(1997, 9, 2, 9)
"""The DTSTART of most of the RFC's examples: a Tuesday."""
NOON = datetime(2026, 1, 1, 12)


def days(rule: str, count: int, start: datetime = START) -> list[str]:
    """The first occurrences as "YYYY-MM-DD HH:MM"."""
    return [f"{one:%Y-%m-%d %H:%M}" for one in islice(walls(parse_rrule(rule), start, None), count)]


def at_nine(*dates: str) -> list[str]:
    return [f"{one} 09:00" for one in dates]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "FREQ=DAILY;INTERVAL=10;COUNT=5",
            ["1997-09-02", "1997-09-12", "1997-09-22", "1997-10-02", "1997-10-12"],
        ),
        ("FREQ=WEEKLY;INTERVAL=2;WKST=SU", ["1997-09-02", "1997-09-16", "1997-09-30", "1997-10-14"]),
        ("FREQ=WEEKLY;COUNT=4;WKST=SU;BYDAY=TU,TH", ["1997-09-02", "1997-09-04", "1997-09-09", "1997-09-11"]),
        (
            "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=MO,WE,FR",
            ["1997-09-03", "1997-09-05", "1997-09-15", "1997-09-17"],
        ),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=1FR", ["1997-09-05", "1997-10-03", "1997-11-07"]),
        ("FREQ=MONTHLY;INTERVAL=2;BYDAY=1SU,-1SU", ["1997-09-07", "1997-09-28", "1997-11-02", "1997-11-30"]),
        ("FREQ=MONTHLY;BYDAY=-2MO", ["1997-09-22", "1997-10-20", "1997-11-17"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-3", ["1997-09-28", "1997-10-29", "1997-11-28"]),
        ("FREQ=MONTHLY;BYMONTHDAY=1,-1", ["1997-09-30", "1997-10-01", "1997-10-31", "1997-11-01"]),
        (
            "FREQ=MONTHLY;INTERVAL=18;BYMONTHDAY=10,11",
            ["1997-09-10", "1997-09-11", "1999-03-10", "1999-03-11"],
        ),
        ("FREQ=YEARLY;BYMONTH=6,7", ["1998-06-02", "1998-07-02", "1999-06-02"]),
        (
            "FREQ=YEARLY;INTERVAL=3;BYYEARDAY=1,100,200",
            ["2000-01-01", "2000-04-09", "2000-07-18", "2003-01-01"],
        ),
        ("FREQ=YEARLY;BYDAY=20MO", ["1998-05-18", "1999-05-17", "2000-05-15"]),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", ["1998-05-11", "1999-05-17", "2000-05-15"]),
        ("FREQ=YEARLY;BYMONTH=3;BYDAY=TH", ["1998-03-05", "1998-03-12", "1998-03-19"]),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", ["1998-02-13", "1998-03-13", "1998-11-13", "1999-08-13"]),
        (
            "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
            ["1997-11-04", "2001-11-06", "2005-11-08"],
        ),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", ["1997-09-04", "1997-10-07", "1997-11-06"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", ["1997-09-29", "1997-10-30", "1997-11-27"]),
    ],
)
def test_the_examples_of_the_rfc_come_out(rule: str, expected: Sequence[str]) -> None:
    """Days, at the time of the start."""
    assert days(rule, len(expected)) == at_nine(*expected)


def test_times_of_day_come_out_as_in_the_rfc() -> None:
    """Every three hours, every quarter of an hour, every ninety minutes; and a last day that is whole."""
    assert days("FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T170000", 9) == [
        "1997-09-02 09:00",
        "1997-09-02 12:00",
        "1997-09-02 15:00",
    ]
    assert days("FREQ=MINUTELY;INTERVAL=15;COUNT=3", 9)[-1] == "1997-09-02 09:30"
    assert days("FREQ=MINUTELY;INTERVAL=90;COUNT=4", 9)[-1] == "1997-09-02 13:30"
    both = "BYHOUR=9,10,11,12,13,14,15,16;BYMINUTE=0,20,40"
    assert days(f"FREQ=DAILY;{both}", 60) == days(f"FREQ=MINUTELY;INTERVAL=20;{both}", 60)
    assert days("FREQ=DAILY;UNTIL=19970904", 9) == at_nine("1997-09-02", "1997-09-03", "1997-09-04")


def test_the_beginning_of_the_week_matters() -> None:
    """The RFC's own example: the same rule, other weeks."""
    start = datetime(1997, 8, 5, 9)
    rule = "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST="
    assert days(f"{rule}MO", 4, start) == at_nine("1997-08-05", "1997-08-10", "1997-08-19", "1997-08-24")
    assert days(f"{rule}SU", 4, start) == at_nine("1997-08-05", "1997-08-17", "1997-08-19", "1997-08-31")


def test_days_that_a_month_does_not_have_are_passed_over() -> None:
    """Not moved: the 30th of February is not the 2nd of March."""
    rule = "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5"
    expected = at_nine("2007-01-15", "2007-01-30", "2007-02-15", "2007-03-15", "2007-03-30")
    assert days(rule, 9, datetime(2007, 1, 15, 9)) == expected
    assert days("FREQ=YEARLY", 2, datetime(2024, 2, 29, 9)) == at_nine("2024-02-29", "2028-02-29")


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Rules that ours and dateutil understand alike."""
    frequency = draw(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY"]))
    parts = [f"FREQ={frequency}", f"INTERVAL={draw(st.sampled_from([1, 1, 2, 3, 7, 12, 25, 90]))}"]

    def some(name: str, numbers: st.SearchStrategy[int], chance: int) -> None:
        if draw(st.integers(0, chance)) == 0:
            found = draw(st.lists(numbers, min_size=1, max_size=3, unique=True))
            parts.append(f"{name}={','.join(map(str, found))}")

    some("BYMONTH", st.integers(1, 12), 3)
    if frequency != "WEEKLY":
        some("BYMONTHDAY", st.integers(1, 31) | st.integers(-31, -1), 3)
    if draw(st.integers(0, 2)) == 0:
        numbers = ["", "1", "2", "-1"] if frequency in ("YEARLY", "MONTHLY") else [""]
        number = draw(st.sampled_from(numbers))
        found = draw(st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=3, unique=True))
        parts.append(f"BYDAY={','.join(number + one for one in found)}")
    some("BYHOUR", st.integers(0, 23), 2)
    some("BYMINUTE", st.integers(0, 59), 2)
    parts.append(f"WKST={draw(st.sampled_from(WEEKDAYS))}")
    if "BYDAY" in parts[-2]:
        some("BYSETPOS", st.sampled_from([1, 2, -1]), 3)
    return ";".join(parts)


@given(rules(), st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31)))
def test_dateutil_says_the_same(rule: str, start: datetime) -> None:
    """An implementation by other people, walking from the start."""
    start = start.replace(second=0, microsecond=0)
    ours = list(islice(walls(parse_rrule(rule), start, None), 6))
    assume(ours and ours[-1].year < 2035)  # it looks for what never comes until the year 9999
    assert ours == list(islice(rrulestr(rule, dtstart=start), len(ours)))


@given(rules(), st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31)), st.integers(0, 5))
def test_it_does_not_matter_where_one_begins(rule: str, start: datetime, place: int) -> None:
    """From a moment on there comes what came after it from the start on."""
    start = start.replace(second=0, microsecond=0)
    found = list(islice(walls(parse_rrule(rule), start, None), 12))
    assume(len(found) > place)
    assert list(islice(walls(parse_rrule(rule), start, found[place]), 11 - place)) == found[place + 1 :]
    assert all(before < after for before, after in pairwise(found))


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MINUTELY;INTERVAL=2;BYMINUTE=1",
        "FREQ=HOURLY;INTERVAL=24;BYHOUR=5",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU",
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6",
        "FREQ=MINUTELY;INTERVAL=1000000;BYMONTH=2;BYMONTHDAY=30",
    ],
)
def test_a_rule_that_never_comes_true_ends(rule: str) -> None:
    """It must not burn a processor until the year 9999."""
    assert list(islice(walls(parse_rrule(rule), datetime(2026, 1, 1), None), 1)) == []


def test_rare_rules_are_found_all_the_same() -> None:
    """A leap day on a Sunday comes every 28 years, and later over the turn of a century."""
    rule = parse_rrule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=SU")
    found = islice(walls(rule, datetime(2026, 1, 1), None), 3)
    assert [one.year for one in found] == [2032, 2060, 2088]


def test_a_rule_of_minutes_is_not_walked_from_its_start() -> None:
    """Fifty years of minutes are 26 million; the next one is found at once."""
    rule, start = parse_rrule("FREQ=MINUTELY;INTERVAL=7"), datetime(2020, 1, 1)
    moment = datetime(2070, 1, 1)
    (found,) = islice(walls(rule, start, moment), 1)
    assert moment < found <= moment + timedelta(minutes=7)
    assert (found - start) % timedelta(minutes=7) == timedelta()


def test_a_count_is_kept_from_wherever_one_looks() -> None:
    """The tenth is the last, also for one who begins at the ninth."""
    rule = parse_rrule("FREQ=DAILY;COUNT=10")
    assert list(walls(rule, NOON, NOON + timedelta(days=8))) == [NOON + timedelta(days=9)]
    assert list(walls(rule, NOON, NOON + timedelta(days=9))) == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("BYDAY=MO", "FREQ"),
        ("FREQ=SOMETIMES", "FREQ"),
        ("FREQ=SECONDLY", "once a minute"),
        ("FREQ=DAILY;BYSECOND=0,30", "once a minute"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270101", "exclude"),
        ("FREQ=DAILY;COUNT=0", "COUNT"),
        ("FREQ=DAILY;COUNT=100001", "COUNT"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR"),
        ("FREQ=DAILY;BYMONTHDAY=0", "BYMONTHDAY"),
        ("FREQ=DAILY;BYDAY=2MO", "BYDAY"),
        ("FREQ=MONTHLY;BYDAY=0MO", "BYDAY"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=1MO", "BYDAY"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "BYWEEKNO"),
        ("FREQ=DAILY;UNTIL=20270230", "UNTIL"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL"),
        ("FREQ=DAILY;BYSETPOS=1", "BYSETPOS"),
        ("FREQ=DAILY;BYEASTER=1", "BYEASTER"),
        ("FREQ=DAILY;FREQ=DAILY", "twice"),
        ("FREQ=DAILY;;", "NAME=VALUE"),
        ("FREQ=DAILY;WKST=XX", "WKST"),
    ],
)
def test_what_cannot_be_read_is_said(rule: str, words: str) -> None:
    """A part that is passed over would be a schedule that nobody asked for."""
    with pytest.raises(RuleError, match=words):
        parse_rrule(rule)


def test_small_letters_are_read_too() -> None:
    """iCalendar does not tell them apart."""
    assert parse_rrule("freq=daily;byhour=9") == parse_rrule("FREQ=DAILY;BYHOUR=9")
