"""Schedules for tests."""

from datetime import UTC, datetime
from typing import Any

from services.bot_manager.domain.recurrence.model import Notation, Recurrence, Schedule

START = datetime(2027, 1, 1, tzinfo=UTC)


def rrule(text: str, **fields: Any) -> Schedule:
    """A schedule by an RRULE, in Berlin."""
    return _schedule(Recurrence(Notation.RRULE, text), **fields)


def cron(text: str, **fields: Any) -> Schedule:
    """A schedule by cron, in Berlin."""
    return _schedule(Recurrence(Notation.CRON, text), **fields)


def _schedule(recurrence: Recurrence, **fields: Any) -> Schedule:
    values: dict[str, Any] = {
        "id": "019b0000-0000-7000-8000-000000000001",
        "bot_id": "019b0000-0000-7000-8000-000000000002",
        "time_zone": "Europe/Berlin",
        "start_time": START,
        "content": {"text": "hello"},
        "create_time": START,
        "update_time": START,
        **fields,
    }
    return Schedule(recurrence=recurrence, **values)
