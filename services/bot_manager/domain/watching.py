"""What those who watch are told, which of it they want, and where in it somebody is.

Transactions commit in another order than the one in which they begin, so no number of a row can say "everything before me was told".
A tick can: it is a moment at which somebody looked, with the transactions that had committed by then. Between two ticks lie the events
of the transactions that committed between them, and none comes later. Among these events numbers decide: whoever waits for the lock of
a bot or a post writes its event, and gets its number, after the one who held the lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.bot_manager.domain.happenings import EventType
from services.bot_manager.domain.model import Document


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, as it is told; see the contract's Event. Ids are empty where nothing of the kind is concerned."""

    id: str
    time: datetime
    type: EventType
    actor: str
    message: str
    bot_id: str = ""
    post_id: str = ""
    schedule_id: str = ""
    app_id: str = ""
    media_id: str = ""
    webhook_id: str = ""
    request_id: str = ""
    detail: Document | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Everything up to `tick` was told and, where `number` is not 0, of what lies between `tick` and `upper` what has a number up to it."""

    tick: int
    number: int = 0
    upper: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """An event with its number, and where somebody is who has heard it and all before it."""

    event: Event
    place: Place
    number: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The next events in order, and where somebody is who has heard them all. Nothing and the old place: there is no more yet."""

    told: Sequence[Told]
    place: Place


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for; empty means no matter which."""

    bot_id: str = ""
    post_id: str = ""
    types: frozenset[EventType] = frozenset()

    def matches(self, event: Event) -> bool:
        """Whether all that is asked for holds."""
        return (
            self.bot_id in ("", event.bot_id)
            and self.post_id in ("", event.post_id)
            and (not self.types or event.type in self.types)
        )
