"""Log records as the service thinks of them, and the filter they can be found by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

USER_ACTIVITY = 1
DEBUG = 2
TERMINAL = 3
CONSOLE = 4
"""Numbers of `vivesphere.logging.v1.LogCategory`; stored as they are."""


@dataclass(slots=True)
class Record:
    """One record. Times are aware UTC; `severity` is OpenTelemetry's number, 0 to 24.

    Nobody changes one. It is not frozen because a frozen one takes several times as long to make, and no other is made as often.
    """

    id: str
    time: datetime
    observed_time: datetime
    category: int
    severity: int
    severity_text: str
    body: str
    service: str
    instance: str
    service_version: str
    actor: str
    bot_id: str
    request_id: str
    trace_id: str
    span_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def position(self) -> "Position":
        """Its place in a list of records."""
        return self.time, self.id, self.category


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that broke a rule: where in its batch, which field, why."""

    index: int
    reason: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Filter:
    """What to look for; an empty field does not restrict. Times: from `start_time`, before `end_time`."""

    start_time: datetime | None = None
    end_time: datetime | None = None
    categories: tuple[int, ...] = ()
    min_severity: int = 0
    service: str = ""
    actor: str = ""
    bot_id: str = ""
    request_id: str = ""
    trace_id: str = ""
    text: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    oldest_first: bool = False

    def digest(self) -> dict[str, object]:
        """Everything that shapes the list, for page tokens."""
        return {
            "start": self.start_time.isoformat() if self.start_time else None,
            "end": self.end_time.isoformat() if self.end_time else None,
            "categories": sorted(self.categories),
            "severity": self.min_severity,
            "service": self.service,
            "actor": self.actor,
            "bot": self.bot_id,
            "request": self.request_id,
            "trace": self.trace_id,
            "text": self.text,
            "attributes": dict(self.attributes),
            "oldest_first": self.oldest_first,
        }


Position = tuple[datetime, str, int]
"""Keyset of a list of records: time, id and category of the last one given out. Ids are made by the sources, so that two records of
different categories may have the same one."""
