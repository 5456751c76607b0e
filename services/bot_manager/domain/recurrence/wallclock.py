"""Wall times and instants: what a clock on the wall shows in a zone, and when that is.

A wall time in the gap that the clocks skip is the first instant after the gap; one that comes twice is the earlier. Only the zone's
rules count, never the process's own zone.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mesh.errors import InvalidArgument
from services.bot_manager.domain.recurrence.model import Adjustment


@dataclass(frozen=True, slots=True)
class Resolved:
    """A wall time as an instant, UTC, and what a change of the clocks did to it."""

    instant: datetime
    adjustment: Adjustment = Adjustment.NONE


def zone_of(name: str, field: str) -> ZoneInfo:
    """The zone of an IANA name. Raises InvalidArgument (INVALID_FIELD) for one that is not known here."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument("INVALID_FIELD", "is not an IANA time zone known here", field=field) from None


def wall_of(instant: datetime, zone: ZoneInfo) -> datetime:
    """What the clock shows at an instant, naive."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def resolve(local: datetime, zone: ZoneInfo) -> Resolved:
    """When a naive wall time is."""
    earlier = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    other = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if wall_of(earlier, zone) != local.replace(fold=0):
        return Resolved(_end_of_gap(other, earlier, zone), Adjustment.GAP_MOVED)
    return Resolved(earlier, Adjustment.OVERLAP_FIRST if earlier < other else Adjustment.NONE)


def _end_of_gap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first whole second that has the offset of `after`; `before` has the one from before the change."""
    offset = after.astimezone(zone).utcoffset()
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if (before + timedelta(seconds=middle)).astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return (before + timedelta(seconds=high)).replace(microsecond=0)
