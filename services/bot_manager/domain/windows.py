"""Black-out windows: when a bot keeps silent. Windows are the contract's BlackoutWindow in ProtoJSON with its own field names.

A moment is silent if it lies between the instants of a window's wall times. Where the clock shows a time twice, a window begins at the
first and ends at the second, so that whichever way the clock is read nothing goes out inside.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from services.bot_manager.domain.model import Document
from services.bot_manager.domain.recurrence.model import Adjustment
from services.bot_manager.domain.recurrence.wallclock import resolve, wall_of

DAYS: Final = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
"""Names of google.type.DayOfWeek in the order of `date.weekday`."""
FARTHEST: Final = timedelta(days=31)
"""How far windows are followed from one to the next; silence that lasts longer is told to end there, and looked at again then."""
ONE_DAY: Final = timedelta(days=1)


def silent_until(windows: Sequence[Document], zone: ZoneInfo, moment: datetime) -> datetime | None:
    """When the silence that covers the moment ends, UTC: windows that overlap or follow without a pause count as one. None if none does."""
    until = moment
    while windows and until - moment < FARTHEST:
        end = max(_ends(windows, zone, until), default=until)
        if end == until:
            break
        until = end
    return None if until == moment else until


def _ends(windows: Sequence[Document], zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    """The ends of the windows that cover the moment."""
    today = wall_of(moment, zone).date()
    for window in windows:
        for day in (today - ONE_DAY, today):
            if _begins_on(window, day):
                start, end = _span(window, day, zone)
                if start <= moment < end:
                    yield end


def on_day(days: Sequence[str], day: date) -> bool:
    """Whether a rule for these days of the week, none meaning all, holds on a day."""
    return not days or DAYS[day.weekday()] in days


def _begins_on(window: Document, day: date) -> bool:
    written = day.isoformat()
    return (
        on_day(window.get("days", ()), day)
        and window.get("first_date", written) <= written
        and written <= window.get("last_date", written)
    )


def _span(window: Document, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """First instant of the window that begins on `day`, and first instant after it."""
    start, end = time_of_day(window.get("starts_at", "00:00")), time_of_day(window.get("ends_at", "24:00"))
    midnight = datetime.combine(day, time())
    return (
        _earlier(midnight + start, zone),
        _later(midnight + (end if end > start else end + ONE_DAY), zone),
    )


@lru_cache(maxsize=4096)
def _earlier(local: datetime, zone: ZoneInfo) -> datetime:
    return resolve(local, zone).instant


@lru_cache(maxsize=4096)
def _later(local: datetime, zone: ZoneInfo) -> datetime:
    resolved = resolve(local, zone)
    if resolved.adjustment is Adjustment.OVERLAP_FIRST:
        return local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return resolved.instant


def time_of_day(text: str) -> timedelta:
    """ "HH:MM", up to "24:00", as the time since midnight on the clock."""
    hours, minutes = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))
