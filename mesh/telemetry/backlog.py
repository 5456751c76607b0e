"""The bounded queue between code that logs, in any thread, and whoever ships or writes.

It never blocks. As it fills up it sheds by class: debug from half full, informational from four fifths, the rest only when there is
no room at all. What was shed is counted by severity and located among what was kept, so that the loss can be reported. A finalizer
or signal handler may log while its own thread is in here, and a process may fork meanwhile; so the lock is re-entrant, and a forked
child starts with an empty queue and a new lock: what waits belongs to its parent.
"""

import threading
from collections import Counter, deque
from typing import Final, Generic, NamedTuple, TypeVar

from vivesphere.logging.v1 import log_record_pb2

MiB: Final = 1024 * 1024
MAX_RECORDS: Final = 10_000
MAX_BYTES: Final = 8 * MiB
DEBUG_SHARE: Final = 0.5
INFO_SHARE: Final = 0.8

T = TypeVar("T")


class Shed(NamedTuple):
    """What was lost since the last report. The numbers are those that the next record to be kept had when the first and the last of
    them was lost."""

    by_severity: dict[str, int]
    first_sequence: int
    last_sequence: int

    @property
    def total(self) -> int:
        """All severities together."""
        return sum(self.by_severity.values())


class Backlog(Generic[T]):
    """Entries in the order they were put. `next_sequence` counts from 1 what is kept."""

    def __init__(self, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._calm_records = max_records * DEBUG_SHARE
        self._calm_bytes = max_bytes * DEBUG_SHARE
        self._entries: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._lock = threading.RLock()
        self._shed: Counter[str] = Counter()
        self._shed_at = (0, 0)
        self.next_sequence = 1
        self.shed_total = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: T, size: int, severity: "log_record_pb2.Severity.ValueType") -> bool:
        """Keep the entry, of about `size` bytes, or count it as shed and return False."""
        with self._lock:
            records, total = len(self._entries), self._bytes + size
            if (records >= self._calm_records or total >= self._calm_bytes) and max(
                records / self._max_records, total / self._max_bytes
            ) >= _share(severity):
                self.shed([severity])
                return False
            self._entries.append((entry, size))
            self._bytes = total
            self.next_sequence += 1
            return True

    def take(self) -> T | None:
        """The oldest entry, or None if there is none."""
        with self._lock:
            if not self._entries:
                self._bytes = 0  # what a handler within `put` may have made of it
                return None
            entry, size = self._entries.popleft()
            self._bytes -= size
            return entry

    def put_back(self, entry: T, size: int) -> None:
        """Make what was taken the oldest again."""
        with self._lock:
            self._entries.appendleft((entry, size))
            self._bytes += size

    def number(self) -> None:
        """Count something that goes out with the entries and was never put."""
        with self._lock:
            self.next_sequence += 1

    def shed(
        self, severities: "list[log_record_pb2.Severity.ValueType]", sequences: tuple[int, int] | None = None
    ) -> None:
        """Count what is lost: here, or where `sequences` says."""
        with self._lock:
            first, last = sequences or (self.next_sequence, self.next_sequence)
            self._shed_at = _span(self._shed_at, (first, last))
            self.shed_total += len(severities)
            for severity in severities:
                self._shed[log_record_pb2.Severity.Name(severity).removeprefix("SEVERITY_")] += 1

    def unreport(self, shed: Shed) -> None:
        """The report of these losses was lost itself: they belong into the next one."""
        with self._lock:
            self._shed.update(shed.by_severity)
            self._shed_at = _span(self._shed_at, (shed.first_sequence, shed.last_sequence))

    def take_shed(self) -> Shed | None:
        """What was shed since the last call, if anything was."""
        if not self._shed:
            return None
        with self._lock:
            shed = Shed(dict(self._shed), *self._shed_at)
            self._shed.clear()
            self._shed_at = (0, 0)
        return shed

    def forget(self) -> None:
        """For a forked child: nothing waits, nothing was shed, nobody holds the lock."""
        self._lock = threading.RLock()
        self._entries.clear()
        self._bytes = 0
        self._shed.clear()
        self._shed_at = (0, 0)


def _share(severity: int) -> float:
    if severity < log_record_pb2.SEVERITY_INFO:
        return DEBUG_SHARE
    return INFO_SHARE if severity < log_record_pb2.SEVERITY_WARN else 1.0


def _span(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    if not one[0]:
        return other
    return min(one[0], other[0]), max(one[1], other[1])
