"""A file of JSON lines that is only ever appended to, so that a restarted sandbox is the same X.

Each line is one record; the store decides what records mean. Lines are flushed to the operating system, not to the
disk: a killed process loses nothing, a power cut may lose the last posts of a toy X. A torn last line is cut off.
The file is the owner's alone (0600). One sandbox per file.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

Record = dict[str, object]


class Damaged(Exception):
    """The state file holds a line that is no record; the message names file and line."""


class Journal:
    """Records in `path`. Read `load()` once, before the first `append`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def load(self) -> list[Record]:
        """Every record in order.

        Raises:
            Damaged: a complete line is not a JSON object.
        """
        raw = self._path.read_bytes()
        complete = raw.rfind(b"\n") + 1
        if complete < len(raw):
            os.ftruncate(self._descriptor, complete)
        return [self._record(line, n) for n, line in enumerate(raw[:complete].splitlines(), start=1)]

    def append(self, record: Mapping[str, object]) -> None:
        """Write one record. Raises OSError when the file cannot take it; then nothing counts as written."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        if os.write(self._descriptor, line) != len(line):
            raise OSError(f"{self._path} took only part of a record")

    def close(self) -> None:
        """Close the file; the journal is not used afterwards."""
        os.close(self._descriptor)

    def _record(self, line: bytes, number: int) -> Record:
        try:
            value = json.loads(line)
        except ValueError as error:
            raise Damaged(f"{self._path} line {number} is not JSON") from error
        if not isinstance(value, dict):
            raise Damaged(f"{self._path} line {number} is not an object")
        return cast("Record", value)
