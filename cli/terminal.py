"""What children print, handed from the pipes to whoever makes log records of it, in another thread.

    pipe → LineSplitter → Lines (bounded) → `cli.terminal_shipping`

A child is never slowed down by it: what finds no room is counted and dropped. This module loads in no time; what makes and ships
records takes a second to load, so it is loaded while the engines start, and the lines wait here meanwhile.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Literal, NamedTuple

KiB = 1024
MAX_BYTES = 8 * KiB * KiB
MAX_LINE_BYTES = 64 * KiB
_OVERHEAD_BYTES = 200

Stream = Literal["stdout", "stderr"]


class Line(NamedTuple):
    """One line as it was printed, without its end; of a longer one the first MAX_LINE_BYTES, and how many bytes were cut."""

    source: str
    pid: int
    stream: Stream
    text: bytes
    cut_bytes: int
    time_ns: int


class Lines:
    """The lines of all children in the order they came, up to `max_bytes`, of which one child may fill half."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._queue: SimpleQueue[Line] = SimpleQueue()
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    def put(self, source: str, pid: int, stream: Stream, text: bytes, cut_bytes: int = 0) -> None:
        """Keep a line, or count it as dropped. Never waits."""
        size = len(text) + _OVERHEAD_BYTES
        with self._lock:
            full = (
                self._held.total() + size > self._max_bytes or self._held[source] + size > self._max_bytes / 2
            )
            if full:
                self._dropped[source] += 1
                return
            self._held[source] += size
        self._queue.put(Line(source, pid, stream, text, cut_bytes, time.time_ns()))

    def take(self, timeout_seconds: float) -> Line | None:
        """The next line, or None if none comes in time."""
        try:
            line = self._queue.get(timeout=timeout_seconds)
        except Empty:
            return None
        with self._lock:
            self._held[line.source] -= len(line.text) + _OVERHEAD_BYTES
        return line

    def take_dropped(self) -> dict[str, int]:
        """How many lines were dropped since the last call, by child."""
        with self._lock:
            dropped = dict(self._dropped)
            self._dropped.clear()
        return dropped


class LineSplitter:
    """Makes lines of what comes out of one pipe. `on_piece` gets every byte, in pieces that end with a line end and are no longer than
    a little over MAX_LINE_BYTES; `on_line` each whole line, cut, with the number of bytes that were cut."""

    def __init__(self, on_piece: Callable[[bytes], None], on_line: Callable[[bytes, int], None]) -> None:
        self._on_piece = on_piece
        self._on_line = on_line
        self._rest = b""
        self._head = b""
        self._length = 0

    def feed(self, data: bytes) -> None:
        """The next bytes of the pipe."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._end(line)
        if len(rest) > MAX_LINE_BYTES:
            self._piece(rest)
            rest = b""
        self._rest = rest

    def close(self) -> None:
        """The pipe has ended, perhaps within a line."""
        if self._rest or self._length:
            self._end(self._rest)
        self._rest = b""

    def _end(self, line: bytes) -> None:
        if line or not self._length:
            self._piece(line)
        self._on_line(self._head, self._length - len(self._head))
        self._head, self._length = b"", 0

    def _piece(self, piece: bytes) -> None:
        self._on_piece(piece + b"\n")
        if not self._length:
            self._head = piece[:MAX_LINE_BYTES]
        self._length += len(piece)
