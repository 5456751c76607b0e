"""Writes log lines to standard output in a thread of its own, so that the code that logs waits for neither JSON nor a pipe.

    put → Backlog (bounded) → writer thread, a moment later → lines, whole and in order
    ERROR and above           the caller writes what waits, itself included, before it goes on; for a second at most
    end of the process        `atexit` writes the rest; for two seconds at most
    a forked child            starts empty and writes each line at once: what waited belongs to its parent, threads do not survive

A stream without a file descriptor, as in tests, gets every line at once. Bytes go straight to the descriptor: a stream's own
buffer would be written twice when a fork happens at the wrong moment. A reader that is gone or stuck never fails the caller; lines
that find no room are counted, and a line of their own says how many. SIGKILL may cost the lines of the last hundredth of a second.
"""

import atexit
import os
import select
import stat
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, TextIO

from mesh.telemetry import metrics
from mesh.telemetry.backlog import Backlog, Shed
from mesh.telemetry.records import severity_of
from mesh.telemetry.snapshot import Snapshot

GATHER_SECONDS: Final = 0.01
"""How long a line may wait for others, to be written together."""
URGENT_LEVEL: Final = 40
URGENT_SECONDS: Final = 1.0
FLUSH_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.5
"""How often a stuck reader is looked at."""
_PIPE_BYTES: Final = 4096
"""What a pipe takes as a whole or not at all, and without waiting once it is writable (PIPE_BUF)."""
_BLOCK_BYTES: Final = 64 * 1024


class Console:
    """One stream. `render` makes the line of a snapshot, without its end; `told` that of what was shed."""

    def __init__(
        self,
        stream: TextIO,
        render: Callable[[Snapshot], str],
        told: Callable[[Shed], str],
        backlog: Backlog[Snapshot] | None = None,
    ) -> None:
        self._stream = stream
        self._render = render
        self._told = told
        self._backlog = backlog if backlog is not None else Backlog()
        self._descriptor = _descriptor(stream)
        self._waits = self._descriptor is not None and not stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._at_once = self._descriptor is None
        self._writing = threading.RLock()
        self._inside = self._stuck = False
        self._rest = b""
        self._asleep = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        _open.add(self)

    def put(self, snapshot: Snapshot) -> None:
        """Any thread; never raises, and waits only as the module says."""
        kept = self._backlog.put(snapshot, snapshot.size, severity_of(snapshot.level))
        if not kept:
            metrics.log_console_dropped_lines.inc()
        if self._at_once or snapshot.level >= URGENT_LEVEL:
            self.flush(0.0 if self._stuck else URGENT_SECONDS)
        elif self._asleep:
            self._asleep = False
            self._wake.put(None)
        elif self._thread is None:
            self._start()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Write everything that waits; whether that was possible within the time."""
        deadline = time.monotonic() + seconds
        if not self._writing.acquire(timeout=seconds):
            return False
        try:
            # A finalizer or signal handler that logs while its own thread writes here: the loop below takes its line too.
            return self._inside or self._write_all(deadline)
        finally:
            self._writing.release()

    def close(self) -> None:
        """Write what waits, end the thread; later lines are written at once."""
        self.flush(0.0 if self._stuck else FLUSH_SECONDS)
        self._at_once = True
        self._wake.put(None)
        _open.discard(self)

    def forget(self) -> None:
        """For a forked child; see the module."""
        self._backlog.forget()
        self._writing = threading.RLock()
        self._inside = self._stuck = False
        self._rest = b""
        self._at_once = True

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending, or there is no room for a thread
            self._at_once = True
            self.flush(URGENT_SECONDS)

    def _run(self) -> None:
        while not self._at_once:
            self._asleep = True
            if not len(self._backlog):
                self._wake.get()
            self._asleep = False
            time.sleep(GATHER_SECONDS)
            while not self.flush(LOOK_SECONDS) and not self._at_once:
                self._stuck = True
            self._stuck = False

    def _write_all(self, deadline: float) -> bool:
        self._inside = True
        try:
            while self._rest or (block := self._next_block()):
                self._rest = self._rest or block
                if not self._write_rest(deadline):
                    return False
            return True
        finally:
            self._inside = False

    def _next_block(self) -> bytes:
        """The next lines, or nothing."""
        block = bytearray()
        while len(block) < _BLOCK_BYTES and (snapshot := self._backlog.take()) is not None:
            block += _encoded(self._line(snapshot))
        if not block and (shed := self._backlog.take_shed()) is not None:
            block += _encoded(self._told(shed))
        return bytes(block)

    def _line(self, snapshot: Snapshot) -> str:
        try:
            return self._render(snapshot)
        except Exception as error:  # a line that cannot be made must not stop those behind it
            return f"log line could not be made: {type(error).__name__}"

    def _write_rest(self, deadline: float) -> bool:
        """Write what is left of a block; False if the reader was too slow. Nobody reading is as good as written."""
        if self._descriptor is None:
            text, self._rest = self._rest.decode(), b""
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                pass
            return True
        while self._rest:
            try:
                if self._waits and not _writable(self._descriptor, deadline):
                    return False
                self._rest = self._rest[os.write(self._descriptor, self._chunk()) :]
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(GATHER_SECONDS)
            except (OSError, ValueError):
                self._rest = b""
        return True

    def _chunk(self) -> bytes:
        """What is written at once: whole lines if possible, so that those of other processes do not come in between."""
        if not self._waits or len(self._rest) <= _PIPE_BYTES:
            return self._rest
        return self._rest[: self._rest.rfind(b"\n", 0, _PIPE_BYTES) + 1 or _PIPE_BYTES]


def _encoded(line: str) -> bytes:
    return (line + "\n").encode("utf-8", "backslashreplace")


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _writable(descriptor: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


_open: "weakref.WeakSet[Console]" = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    for console in list(_open):
        console.close()


def _after_fork() -> None:
    for console in list(_open):
        console.forget()


os.register_at_fork(after_in_child=_after_fork)
