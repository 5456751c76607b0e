"""Identifiers: UUID version 7 of RFC 9562, as canonical lower-case text.

An id carries the millisecond it was made in, so ids sort by time and index well, and 74 random bits after it. Within one
process ids only grow (RFC 9562 section 6.2, method 2): in the same millisecond, or when the clock steps back, the random part
of the last id is raised by a random amount; when it is full, the millisecond is borrowed from the future.
Does not promise an order between processes.
"""

import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

RANDOM_BITS: Final = 74
STEP_BITS: Final = 32
# A fresh random part leaves its top bit free, so that at least 2**41 raises fit into one millisecond.
FRESH_BITS: Final = RANDOM_BITS - 1
LOW_BITS: Final = 62
VERSION: Final = 7
VARIANT: Final = 0b10
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


def _unix_milliseconds() -> int:
    return time.time_ns() // 1_000_000


class IdFactory:
    """Makes ids that only grow. `milliseconds` is Unix time; `random_bits(n)` gives an integer below 2**n. Thread-safe."""

    def __init__(
        self,
        milliseconds: Callable[[], int] = _unix_milliseconds,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._milliseconds = milliseconds
        self._random_bits = random_bits
        self._lock = threading.Lock()
        self._last_time = -1
        self._last_random = 0

    def new_id(self) -> str:
        """A new id, greater as text than every id this factory made before."""
        with self._lock:
            self._advance()
            return _format(self._last_time, self._last_random)

    def _advance(self) -> None:
        now = self._milliseconds()
        raised = self._last_random + 1 + self._random_bits(STEP_BITS)
        if now <= self._last_time and raised < 1 << RANDOM_BITS:
            self._last_random = raised
            return
        self._last_time = max(now, self._last_time + 1)
        self._last_random = self._random_bits(FRESH_BITS)


def _format(milliseconds: int, random: int) -> str:
    high, low = random >> LOW_BITS, random & ((1 << LOW_BITS) - 1)
    number = milliseconds << 80 | VERSION << 76 | high << 64 | VARIANT << 62 | low
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_process = IdFactory()


def _after_fork() -> None:
    """A forked child must neither inherit a held lock nor continue its parent's sequence."""
    global _process
    _process = IdFactory()


os.register_at_fork(after_in_child=_after_fork)


def new_id() -> str:
    """A new UUIDv7 such as `0193c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b`, greater than every earlier one of this process."""
    return _process.new_id()


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID of any version in canonical form: lower case, with hyphens, nothing around it."""
    return _CANONICAL.fullmatch(text) is not None


def time_of(text: str) -> datetime:
    """The UTC time, to the millisecond, that a UUIDv7 carries. Raises ValueError for anything else."""
    if not is_uuid(text) or text[14] != "7":
        raise ValueError("not a version 7 UUID in canonical form")
    return EPOCH + timedelta(milliseconds=int(text[:8] + text[9:13], 16))
