"""What a child prints: kept in a file bounded in size, with the last lines at hand to show when the child fails."""

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from cli.layout import make_private_directory

MiB = 1024 * 1024
MAX_FILE_BYTES = 8 * MiB  # of the current file; one older file of the same size is kept
LAST_LINES = 30
MAX_LINE_BYTES = 4096  # of a remembered line; the file holds it whole


class ProcessLog:
    """Appends output to `path` (0600), raw or as `clean` leaves it; past the limit the file becomes `<path>.1` and a new one begins."""

    def __init__(
        self,
        path: Path,
        max_bytes: int = MAX_FILE_BYTES,
        clean: Callable[[bytes], bytes] = lambda line: line,
    ) -> None:
        self._path = path
        self._clean = clean
        self._max_bytes = max_bytes
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        make_private_directory(path.parent)
        self._file = self._open()

    def _open(self) -> BinaryIO:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "ab", buffering=0)

    def write(self, line: bytes) -> None:
        """Appends one line of output, newline included."""
        line = self._clean(line)
        if not line:
            return
        if self._file.tell() + len(line) > self._max_bytes:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._open()
        self._file.write(line)
        self._lines.append(line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip())

    def last_lines(self) -> list[str]:
        """The newest lines, oldest first."""
        return list(self._lines)

    def close(self) -> None:
        self._file.close()
