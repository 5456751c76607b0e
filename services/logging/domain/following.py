"""Where somebody is who follows the records as they are stored.

Batches have numbers in the order in which they became visible, without gaps. Within a batch records are told in the order of their keys,
so a place is the number of the last batch told whole and, of the one behind it, the key of the last record told.
"""

from dataclasses import dataclass, field
from datetime import datetime

from services.logging.domain.records import Record

Key = tuple[datetime, int, str]
"""Time, category and id of a record: its order within its batch, and what tells it from every other."""


@dataclass(frozen=True, slots=True)
class Head:
    """Which batches there are: the newest was `last`, the oldest kept is `first`; one more than `last` if none is."""

    last: int
    first: int


@dataclass(frozen=True, slots=True)
class Place:
    """All of the batches up to `number` was told, and of the next one what comes up to `key`."""

    number: int
    key: Key | None = None

    def is_known(self, head: Head) -> bool:
        """Whether everything behind it is still there, and it is of this history."""
        newest = self.number if self.key is None else self.number + 1
        return head.first <= self.number + 1 and newest <= head.last


@dataclass(slots=True)
class Gap:
    """Records that were left out: how many, from when to when, and where somebody is who goes on behind them."""

    count: int
    first_time: datetime
    last_time: datetime
    place: Place

    def widen(self, further: "Gap") -> None:
        """Leave out what comes right behind it too."""
        self.count += further.count
        self.first_time = min(self.first_time, further.first_time)
        self.last_time = max(self.last_time, further.last_time)
        self.place = further.place


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction stored. `id` is on its records; their times lie from `first_time` to `last_time`."""

    number: int
    id: int
    first_time: datetime
    last_time: datetime
    record_count: int

    def gap(self) -> Gap:
        """What stands for it where it is left out."""
        return Gap(self.record_count, self.first_time, self.last_time, Place(self.number))


@dataclass(slots=True)
class Row:
    """A stored record in its batch."""

    number: int
    record: Record
    texts: frozenset[str] = frozenset()
    """Which of the texts that were asked for match its body."""
    told: object = field(default=None, repr=False)
    """What it looks like on the wire, made once for all who follow."""

    @property
    def key(self) -> Key:
        """Its order within its batch."""
        return self.record.time, self.record.category, self.record.id

    @property
    def place(self) -> Place:
        """Where somebody is who has seen it and all before it."""
        return Place(self.number - 1, self.key)


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing matched since; whoever resumes goes on from here."""

    place: Place
