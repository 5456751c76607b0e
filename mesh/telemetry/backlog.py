"""The bounded queue between code that logs, in any thread, and the task that ships.

It never blocks. As it fills up it sheds by class: debug from half full, informational from four fifths, the rest only when there is
no room at all. What was shed is counted by severity, so that the loss can be reported.
"""

import threading
from collections import Counter, deque
from typing import Final

from mesh.telemetry import metrics
from vivesphere.logging.v1 import log_record_pb2

MiB: Final = 1024 * 1024
MAX_RECORDS: Final = 10_000
MAX_BYTES: Final = 8 * MiB
DEBUG_SHARE: Final = 0.5
INFO_SHARE: Final = 0.8


class Backlog:
    """Records in the order they were made."""

    def __init__(self, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._records: deque[tuple[log_record_pb2.LogRecord, int]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._shed: Counter[str] = Counter()
        self.shed_total = 0

    def __len__(self) -> int:
        return len(self._records)

    def put(self, record: log_record_pb2.LogRecord) -> bool:
        """Keep the record, or count it as shed and return False."""
        size = record.ByteSize()
        with self._lock:
            fill = max(len(self._records) / self._max_records, (self._bytes + size) / self._max_bytes)
            kept = fill < _share(record.severity)
            if kept:
                self._records.append((record, size))
                self._bytes += size
            metrics.log_queue_records.set(len(self._records))
        if not kept:
            self.shed([record])
        return kept

    def take(self, max_records: int, max_bytes: int) -> list[log_record_pb2.LogRecord]:
        """The oldest records, at least one if there is any, within the limits otherwise."""
        taken: list[log_record_pb2.LogRecord] = []
        total = 0
        with self._lock:
            while self._records and len(taken) < max_records:
                record, size = self._records[0]
                if taken and total + size > max_bytes:
                    break
                self._records.popleft()
                taken.append(record)
                total += size
            self._bytes -= total
            metrics.log_queue_records.set(len(self._records))
        return taken

    def shed(self, records: list[log_record_pb2.LogRecord]) -> None:
        """Count records that are lost."""
        with self._lock:
            self.shed_total += len(records)
            for record in records:
                name = log_record_pb2.Severity.Name(record.severity).removeprefix("SEVERITY_")
                self._shed[name] += 1
                metrics.log_dropped_records.labels(name).inc()

    def unreport(self, shed: dict[str, int]) -> None:
        """The report of these losses was lost itself: they belong into the next one."""
        with self._lock:
            self._shed.update(shed)

    def take_shed(self) -> dict[str, int]:
        """How many were shed since the last call, by severity."""
        with self._lock:
            shed = dict(self._shed)
            self._shed.clear()
        return shed


def _share(severity: int) -> float:
    if severity < log_record_pb2.SEVERITY_INFO:
        return DEBUG_SHARE
    return INFO_SHARE if severity < log_record_pb2.SEVERITY_WARN else 1.0
