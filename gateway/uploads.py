"""The body of a request as the messages of a client stream, for methods that take a file (`body` is a google.api.HttpBody).

The body is the file itself, or multipart/form-data (RFC 7578) with the file in the part that the method's `body` names, and other fields
in parts of their names before it. Fields of either form, and those of the query, go with the first message; every message carries a piece
of the file. Nothing is held but the piece under way. Forms are read by python-multipart, which is told piece by piece what came and tells
what it saw; limits and order are ours.
"""

import logging
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlencode

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.transcoding.binding import RequestParts
from gateway.transcoding.errors import malformed

PIECE_BYTES: Final = 512 * 1024
"""Well below what a message may have."""
MAX_HEAD_BYTES: Final = 8 * 1024
MAX_FIELD_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 32

Pieces = AsyncIterator[bytes]

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it would log what clients send


async def messages_of(
    pieces: Pieces, parts: RequestParts, content_type: str, file_field: str
) -> AsyncIterator[RequestParts]:
    """What each message is made of. `parts` is the request without its body, `content_type` the header as it came.

    Without a `file_field` the whole message is the file, and a form is a file like any other. Raises GatewayError for a form that cannot
    be read.
    """
    query, kind = parts.query, parts.content_type
    if kind == "multipart/form-data" and file_field:
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
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not 1 <= len(boundary) <= 70:  # RFC 2046 section 5.1.1
            raise malformed("multipart/form-data without a boundary")
        self._pieces = _without_preamble(pieces, b"--" + boundary)
        self._parts = _Parts(file_field)
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._parts.begin,
                "on_header_field": self._parts.header_name,
                "on_header_value": self._parts.header_value,
                "on_header_end": self._parts.header_end,
                "on_headers_finished": self._parts.headers_end,
                "on_part_data": self._parts.data,
                "on_part_end": self._parts.end,
                "on_end": self._parts.end_of_form,
            },
            max_header_size=MAX_HEAD_BYTES,
        )

    async def head(self) -> tuple[dict[str, str], str]:
        """The fields before the file, and the file's type. Raises GatewayError."""
        while not self._parts.in_file and await self._more():
            pass
        if not self._parts.in_file:
            raise malformed("the form has no part for the file")
        return self._parts.fields, self._parts.file_type

    async def file(self) -> Pieces:
        """The file's bytes. Raises GatewayError if the form ends before it, or goes on after it."""
        more = True
        while more:
            for piece in self._parts.take():
                yield piece
            more = await self._more()

    async def _more(self) -> bool:
        """Read on; False once the form and what follows it are read."""
        async for piece in self._pieces:
            try:
                self._parser.write(piece)
            except FormParserError:
                raise malformed("the form cannot be read") from None
            return True
        if not self._parts.complete:
            raise malformed("the form is not complete")
        return False


class _Parts:
    """What the parser has told so far; refuses what does not belong into such a form."""

    def __init__(self, file_field: str) -> None:
        self._file_field = file_field
        self.fields: dict[str, str] = {}
        self.file_type = ""
        self.in_file = self.complete = False
        self._file: list[bytes] = []
        self._headers: dict[str, bytes] = {}
        self._name = ""
        self._header, self._value, self._content = bytearray(), bytearray(), bytearray()

    def take(self) -> list[bytes]:
        """The bytes of the file that came since the last time."""
        taken, self._file = self._file, []
        return taken

    def begin(self) -> None:
        if self.in_file:
            raise malformed("fields belong before the file")
        self._headers = {}
        self._content.clear()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._header.decode("ascii").lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def headers_end(self) -> None:
        name = parse_options_header(self._headers.get("content-disposition"))[1].get(b"name")
        if name is None:
            raise malformed("a part of the form has no name")
        self._name = name.decode("utf-8", "replace")
        self.in_file = self._name == self._file_field
        if self.in_file:
            self.file_type = parse_options_header(self._headers.get("content-type"))[0].decode("latin-1")
        elif self._name in self.fields or len(self.fields) >= MAX_FIELDS:
            raise malformed("the form repeats a field, or has too many")

    def data(self, data: bytes, start: int, end: int) -> None:
        if self.in_file:
            self._file.append(data[start:end])
            return
        self._content += data[start:end]
        if len(self._content) > MAX_FIELD_BYTES:
            raise malformed("a part of the form is too long")

    def end(self) -> None:
        if self.in_file:
            return
        try:
            self.fields[self._name] = self._content.decode()
        except UnicodeDecodeError:
            raise malformed("a field of the form is not UTF-8") from None

    def end_of_form(self) -> None:
        self.complete = True


async def _without_preamble(pieces: Pieces, delimiter: bytes) -> Pieces:
    """The form from its first boundary on; what stands before says nothing (RFC 2046 section 5.1.1), and the parser does not know it."""
    buffer = b"\r\n"
    async for piece in pieces:
        if buffer:
            buffer += piece
            at = buffer.find(b"\r\n" + delimiter)
            if at < 0:
                if len(buffer) > MAX_HEAD_BYTES:
                    raise malformed("a part of the form is too long")
                continue
            piece, buffer = buffer[at + 2 :], b""
        yield piece
