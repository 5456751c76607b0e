"""Black-out windows: stretches of time in which nothing is published."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from services.bot_manager.domain.model import Document
from services.bot_manager.domain.recurrence.wallclock import resolve, wall_of

_DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


def silent_until(windows: Sequence[Document], zone: ZoneInfo, moment: datetime) -> datetime | None:
    """The end of the window that covers the moment, the latest if several do; None if none does. Windows are in ProtoJSON."""
    today = wall_of(moment, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    ends = [
        end
        for window in windows
        for begins_on in (today - timedelta(days=1), today)
        if (end := _end(window, begins_on, zone, moment)) is not None
    ]
    return max(ends, default=None)


def _end(window: Document, day: datetime, zone: ZoneInfo, moment: datetime) -> datetime | None:
    days = window.get("days", ())
    if days and _DAYS[day.weekday()] not in days:
        return None
    if not window.get("first_date", "") <= f"{day:%Y-%m-%d}" <= window.get("last_date", "9999-12-31"):
        return None
    start, end = _minutes(window.get("starts_at", "00:00")), _minutes(window.get("ends_at", "24:00"))
    if end <= start:
        end += timedelta(days=1)
    begins, ends = resolve(day + start, zone).instant, resolve(day + end, zone).instant
    return ends if begins <= moment < ends else None


def _minutes(text: str) -> timedelta:
    hours, minutes = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))
