"""Frames on disk, first in first out, bounded: where log batches wait while NATS is away, also over a restart.

    <directory>/000000000001.seg   frames: length (4 bytes, big endian), CRC-32 of the payload (4 bytes), payload
    <directory>/lock               held while open, so that two processes never share a spool

A frame is on the disk (fsync) when `append` returns True. A segment is read as a whole and deleted once all of it was delivered; after
a crash it is read again, so whoever receives frames must know them again by an id inside. A frame cut off by a crash ends its segment.
Directory 0700, files 0600. Safe to call from several threads.
"""

import fcntl
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import BinaryIO, Final

MiB: Final = 1024 * 1024
MAX_BYTES: Final = 256 * MiB
SEGMENT_BYTES: Final = 4 * MiB
HEADER: Final = struct.Struct(">II")
SUFFIX: Final = ".seg"


class Spool:
    """One spool directory. Raises OSError from the constructor if it cannot be made, or BlockingIOError if another process has it."""

    def __init__(
        self, directory: Path, max_bytes: int = MAX_BYTES, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._mutex = threading.RLock()
        self._lock_file = self._open_file(directory / "lock")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            raise
        self._segments = sorted(directory.glob(f"*{SUFFIX}"))
        self._sizes = {path: path.stat().st_size for path in self._segments}
        # A process never writes behind what an earlier one may have left half written.
        self._writing: BinaryIO | None = None

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(self._sizes.values())

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._segments

    def append(self, payload: bytes) -> bool:
        """Store a frame durably. False, with nothing stored, if there is no room for it here or on the disk."""
        frame = HEADER.pack(len(payload), zlib.crc32(payload)) + payload
        with self._mutex:
            if self.size + len(frame) > self._max_bytes:
                return False
            try:
                self._write(frame)
            except OSError:
                return False
            return True

    def oldest(self) -> tuple[list[bytes], int]:
        """The frames of the oldest segment, and how many bytes at its end could not be read. ([], 0) if nothing waits."""
        with self._mutex:
            if not self._segments:
                return [], 0
            if len(self._segments) == 1:
                self._close_writing()
            return _frames(self._segments[0].read_bytes())

    def drop_oldest(self) -> None:
        """Delete the oldest segment: it was delivered, or cannot be."""
        with self._mutex:
            path = self._segments.pop(0)
            self._sizes.pop(path)
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the directory free. Nothing may be called afterwards."""
        with self._mutex:
            self._close_writing()
            self._lock_file.close()

    def _write(self, frame: bytes) -> None:
        if self._writing is None or self._sizes[self._segments[-1]] + len(frame) > self._segment_bytes:
            self._begin_segment()
        file, path = self._writing, self._segments[-1]
        if file is None:
            return
        try:
            file.write(frame)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            # Half a frame would hide every later one of the segment.
            self._close_writing()
            os.truncate(path, self._sizes[path])
            raise
        self._sizes[path] += len(frame)

    def _begin_segment(self) -> None:
        self._close_writing()
        number = int(self._segments[-1].stem) + 1 if self._segments else 1
        path = self._directory / f"{number:012d}{SUFFIX}"
        self._writing = self._open_file(path)
        self._segments.append(path)
        self._sizes[path] = 0
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # the name of the new file is durable too
        finally:
            os.close(descriptor)

    def _close_writing(self) -> None:
        file, self._writing = self._writing, None
        if file is not None:
            file.close()

    def _open_file(self, path: Path) -> BinaryIO:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)


def _frames(content: bytes) -> tuple[list[bytes], int]:
    frames: list[bytes] = []
    at = 0
    while at + HEADER.size <= len(content):
        length, checksum = HEADER.unpack_from(content, at)
        payload = content[at + HEADER.size : at + HEADER.size + length]
        if len(payload) < length or zlib.crc32(payload) != checksum:
            break
        frames.append(payload)
        at += HEADER.size + length
    return frames, len(content) - at
