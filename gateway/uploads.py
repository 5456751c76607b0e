"""The body of a request as the messages of a client stream, for methods that take a file (`body` is a google.api.HttpBody).

The body is the file itself, or multipart/form-data (RFC 7578) with the file in the part that the method's `body` names, and other fields
in parts of their names before it. Fields of either form, and those of the query, go with the first message; every message carries a piece
of the file. Nothing is held but the piece under way.
"""

import re
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlencode

from gateway.transcoding.binding import RequestParts
from gateway.transcoding.errors import malformed

PIECE_BYTES: Final = 512 * 1024
"""Well below what a message may have."""
MAX_HEAD_BYTES: Final = 8 * 1024
MAX_FIELD_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 32
_BOUNDARY: Final = re.compile(r'boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME: Final = re.compile(r';\s*name="([^"\r\n]*)"', re.IGNORECASE)
_TYPE: Final = re.compile(r"^content-type:\s*([^\s;]+)", re.IGNORECASE | re.MULTILINE)

Pieces = AsyncIterator[bytes]


async def messages_of(
    pieces: Pieces, parts: RequestParts, content_type: str, file_field: str
) -> AsyncIterator[RequestParts]:
    """What each message is made of. `parts` is the request without its body, `content_type` the header as it came.

    Raises GatewayError for a form that cannot be read.
    """
    query, kind = parts.query, parts.content_type
    if kind == "multipart/form-data":
        form = _Form(pieces, content_type, file_field)
        fields, kind = await form.head()
        query = "&".join(filter(None, (query, urlencode(fields))))
        pieces = form.file()
    first = True
    async for piece in _joined(pieces):
        yield RequestParts(query, piece, kind, parts.idempotency_key) if first else RequestParts(body=piece)
        first = False
    if first:
        yield RequestParts(query, b"", kind, parts.idempotency_key)


async def _joined(pieces: Pieces) -> Pieces:
    """The same bytes in pieces of PIECE_BYTES."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) >= PIECE_BYTES:
            yield bytes(buffer[:PIECE_BYTES])
            del buffer[:PIECE_BYTES]
    if buffer:
        yield bytes(buffer)


class _Form:
    """multipart/form-data, read once from front to back."""

    def __init__(self, pieces: Pieces, content_type: str, file_field: str) -> None:
        found = _BOUNDARY.search(content_type)
        if found is None:
            raise malformed("multipart/form-data without a boundary")
        self._pieces = pieces
        self._file_field = file_field
        self._delimiter = b"\r\n--" + (found.group(1) or found.group(2)).encode("latin-1")
        self._buffer = bytearray(b"\r\n")

    async def head(self) -> tuple[dict[str, str], str]:
        """The fields before the file, and the file's type. Raises GatewayError."""
        fields: dict[str, str] = {}
        await self._until(self._delimiter, MAX_HEAD_BYTES)
        while not await self._ends():
            head = (await self._until(b"\r\n\r\n", MAX_HEAD_BYTES)).decode("utf-8", "replace")
            name = _NAME.search(head)
            if name is None:
                raise malformed("a part of the form has no name")
            if name.group(1) == self._file_field:
                kind = _TYPE.search(head)
                return fields, kind.group(1).lower() if kind else ""
            value = await self._until(self._delimiter, MAX_FIELD_BYTES)
            if name.group(1) in fields or len(fields) >= MAX_FIELDS:
                raise malformed("the form repeats a field, or has too many")
            fields[name.group(1)] = _text(value)
        raise malformed(f"the form has no part {self._file_field}")

    async def file(self) -> Pieces:
        """The file's bytes. Raises GatewayError if the form ends before it, or goes on after it."""
        keep = len(self._delimiter) - 1
        while (end := self._buffer.find(self._delimiter)) < 0:
            if len(self._buffer) > keep:
                yield bytes(self._buffer[:-keep])
                del self._buffer[:-keep]
            await self._more()
        yield bytes(self._buffer[:end])
        del self._buffer[: end + len(self._delimiter)]
        if not await self._ends():
            raise malformed("fields belong before the file")
        async for _ in self._pieces:  # an epilogue says nothing
            pass

    async def _until(self, mark: bytes, most: int) -> bytes:
        """The bytes before `mark`, which is read over."""
        while (end := self._buffer.find(mark)) < 0 and len(self._buffer) <= most:
            await self._more()
        if not 0 <= end <= most:
            raise malformed("a part of the form is too long")
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return found

    async def _ends(self) -> bool:
        """Whether the delimiter just read was the last."""
        while len(self._buffer) < 2:
            await self._more()
        return self._buffer[:2] == b"--"

    async def _more(self) -> None:
        async for piece in self._pieces:
            self._buffer += piece
            return
        raise malformed("the form is not complete")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise malformed("a field of the form is not UTF-8") from None
