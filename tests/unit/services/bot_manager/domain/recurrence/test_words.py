"""Rules in words."""

# ruff: noqa: DTZ001 - wall times have no zone

from datetime import datetime

import pytest

from services.bot_manager.domain.recurrence.model import Notation, Recurrence
from services.bot_manager.domain.recurrence.words import describe

START = datetime(2027, 1, 4, 9)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=9;BYMINUTE=0;BYSECOND=0", "every Monday and Thursday at 09:00"),
        ("FREQ=WEEKLY", "every Monday at 09:00"),
        ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;BYHOUR=8,17", "every weekday at 08:00 and 17:00"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=FR", "every 2 weeks on Friday at 09:00"),
        ("FREQ=DAILY", "every day at 09:00"),
        ("FREQ=DAILY;INTERVAL=3;COUNT=5", "every 3 days at 09:00 5 times"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,-1", "every month on the last and 1st day of the month at 09:00"),
        ("FREQ=MONTHLY;BYDAY=-1FR", "every month on the last Friday at 09:00"),
        ("FREQ=MONTHLY", "every month on the 4th at 09:00"),
        ("FREQ=YEARLY", "every year on the 4th in January at 09:00"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "every year on Monday in the 20th week of the year at 09:00"),
        ("FREQ=HOURLY;BYMINUTE=15", "every hour at minute 15"),
        ("FREQ=HOURLY;INTERVAL=6", "every 6 hours at minute 0"),
        ("FREQ=MINUTELY;INTERVAL=5;BYHOUR=9,10", "every 5 minutes in the hours 09 and 10"),
        ("FREQ=DAILY;UNTIL=20270301T080000Z", "every day at 09:00 until 2027-03-01 08:00 UTC"),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
            "every month on weekday at 09:00 (only the last of each month)",
        ),
    ],
)
def test_a_rule_reads_like_a_sentence(rule: str, words: str) -> None:
    """People check a schedule by reading it back."""
    told = describe(Recurrence(Notation.RRULE, rule), START, "Europe/Berlin")
    assert told == f"{words}, Europe/Berlin"


def test_cron_reads_like_a_sentence_too() -> None:
    """Few can read the five fields."""
    told = describe(Recurrence(Notation.CRON, "0 9 * * MON,THU"), START, "UTC")
    assert told == "at 09:00 on Monday and Thursday, UTC"
