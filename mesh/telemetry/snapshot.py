"""What is kept of a loguru record after it was redacted: values that nobody changes any more, cheap to make in the call that logs.

The console line and the `LogRecord` are made from it later, by whoever writes or ships.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from loguru import Record

_OVERHEAD_BYTES: Final = 400
"""Time, level, names and the containers themselves, about."""


class Snapshot(NamedTuple):
    """One redacted record. `extra` is plain JSON data that belongs to it alone; `level` is loguru's number."""

    time: datetime
    level: int
    level_name: str
    message: str
    logger: str
    extra: dict[str, Any]
    size: int = _OVERHEAD_BYTES
    """About how many bytes of memory it holds."""


def snapshot_of(record: "Record") -> Snapshot:
    """Of a record that has passed the redactor."""
    level, message, extra = record["level"], record["message"], record["extra"]
    size = _OVERHEAD_BYTES + len(message)
    for value in extra.values():
        size += len(value) if type(value) is str else _size(value)
    return Snapshot(record["time"], level.no, level.name, message, record["name"] or "", extra, size)


def _size(value: object) -> int:
    if isinstance(value, int):
        return 32
    if isinstance(value, str):
        return 64 + len(value)
    if isinstance(value, list):
        return 64 + sum(map(_size, value))
    if isinstance(value, dict):
        return 64 + sum(len(name) + _size(item) for name, item in value.items())
    return 32
