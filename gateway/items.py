"""The body of a request as a stream of JSON values: one a line (NDJSON), or the elements of one array.

A body that begins with `[` is an array, unless its type says application/x-ndjson. Values are cut out as they come and are not looked
into: whether one is JSON is for whoever binds it. Held is one value at most, and none may be larger than a body may be. Lines that hold
nothing are skipped; an element that does not exist (`[1,]`), an array without an end and anything behind it are refused.
"""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Final, Protocol

from gateway.transcoding.errors import GatewayError, Violation, malformed, too_large

LINES: Final = "application/x-ndjson"
TYPES: Final = frozenset({"", "application/json", LINES})

_SPACE: Final = b" \t\r\n"
_OUTSIDE = re.compile(rb'["\[\]{},]')
_IN_STRING = re.compile(rb'["\\]')

Pieces = AsyncIterator[bytes]


async def values_of(pieces: Pieces, content_type: str, limit: int) -> AsyncIterator[bytes]:
    """The values, none of them empty, each at most `limit` bytes. Raises GatewayError, which names the place of a value in the stream."""
    if content_type not in TYPES:
        raise malformed(f"expected Content-Type: {LINES} or application/json", http_status=415)
    cutter: _Cutter | None = _Lines(limit) if content_type == LINES else None
    async for piece in pieces:
        if cutter is None:
            piece = piece.lstrip(_SPACE)
            if not piece:
                continue
            cutter = _Array(limit) if piece.startswith(b"[") else _Lines(limit)
            piece = piece.removeprefix(b"[")
        for value in cutter.feed(piece):
            yield value
    if cutter is not None:
        for value in cutter.finish():
            yield value


def at_item(error: GatewayError, index: int) -> GatewayError:
    """The same error, said of the value at `index` of a stream: `thing.id` is `[3].thing.id`."""
    where = f"[{index}]"
    if not error.violations:
        return replace(
            error, message=f"{where}: {error.message}", violations=[Violation(where, error.message)]
        )
    named = [
        Violation(where if one.field == "(body)" else f"{where}.{one.field}", one.description)
        for one in error.violations
    ]
    return replace(error, message=f"{named[0].field}: {named[0].description}", violations=named)


class _Cutter(Protocol):
    def feed(self, piece: bytes) -> Iterator[bytes]: ...

    def finish(self) -> Iterator[bytes]: ...


class _Held:
    """The value that is arriving."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self.index = 0

    def add(self, more: bytes) -> None:
        self._buffer += more
        if len(self._buffer) > self._limit:
            raise at_item(too_large("value", self._limit), self.index)

    def take(self, more: bytes) -> bytes:
        """The whole value without space around it; "" is possible."""
        self.add(more)
        value = bytes(self._buffer).strip(_SPACE)
        self._buffer.clear()
        return value


class _Lines:
    """Cuts at line feeds."""

    def __init__(self, limit: int) -> None:
        self._held = _Held(limit)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            yield from self._take(piece[start:end])
            start = end + 1
        self._held.add(piece[start:])

    def finish(self) -> Iterator[bytes]:
        yield from self._take(b"")

    def _take(self, more: bytes) -> Iterator[bytes]:
        if value := self._held.take(more):
            yield value
            self._held.index += 1


class _Array:
    """Cuts at the commas of the outermost array, whose opening bracket was read before."""

    def __init__(self, limit: int) -> None:
        self._held = _Held(limit)
        self._depth = 0
        self._in_string = self._escaped = self._closed = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        at = start = 0
        while not self._closed:
            if self._escaped and at < len(piece):
                at, self._escaped = at + 1, False
            found = (_IN_STRING if self._in_string else _OUTSIDE).search(piece, at)
            if found is None:
                break
            at = found.end()
            if self._is_cut(found[0]):
                yield from self._take(piece[start : at - 1])
                start = at
        if not self._closed:
            self._held.add(piece[start:])
        elif piece[start:].strip(_SPACE):
            raise malformed("something follows the array")

    def finish(self) -> Iterator[bytes]:
        if not self._closed:
            raise malformed("the array is not complete")
        yield from ()

    def _is_cut(self, mark: bytes) -> bool:
        """Take one mark into account; True if it ends an element of the outermost array."""
        if self._in_string:
            self._in_string, self._escaped = mark != b'"', mark == b"\\"
        elif mark == b'"':
            self._in_string = True
        elif mark in b"[{":
            self._depth += 1
        elif self._depth:
            self._depth -= mark in b"]}"
        elif mark == b"}":
            raise at_item(malformed("the value is not valid JSON"), self._held.index)
        else:
            self._closed = mark == b"]"
            return True
        return False

    def _take(self, more: bytes) -> Iterator[bytes]:
        value = self._held.take(more)
        if value:
            yield value
        elif not self._closed or self._held.index:
            raise at_item(malformed("expected a JSON value"), self._held.index)
        self._held.index += 1
