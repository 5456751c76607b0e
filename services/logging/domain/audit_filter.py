"""What audit events can be found by."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from services.logging.domain.chain import CHAIN


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """An empty field does not restrict. Times: from `start_time`, before `end_time`."""

    start_time: datetime | None = None
    end_time: datetime | None = None
    actor: str = ""
    action: str = ""
    """The full name of a method, or its own name alone."""
    resource: str = ""
    """A path; what lies below it is found too."""
    outcome: str = ""
    bot_id: str = ""
    request_id: str = ""
    service: str = ""
    chain: str = CHAIN
    oldest_first: bool = False

    def equalities(self) -> Iterator[tuple[str, str]]:
        """Fields that must be equal, with their values."""
        for name in ("chain", "actor", "outcome", "bot_id", "request_id", "service"):
            value = getattr(self, name)
            if value:
                yield name, value

    def digest(self) -> dict[str, object]:
        """Everything that shapes the list, for page tokens."""
        return {
            "start": self.start_time.isoformat() if self.start_time else None,
            "end": self.end_time.isoformat() if self.end_time else None,
            "oldest_first": self.oldest_first,
            "action": self.action,
            "resource": self.resource,
            **dict(self.equalities()),
        }
