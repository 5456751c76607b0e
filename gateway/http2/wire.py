"""Frames of HTTP/2 (RFC 9113) and stateless header blocks (RFC 7541), as far as a gRPC client needs them.

Neither side keeps a header table: we write literals only and announce a table of size 0, so what a block means depends on nothing but its
bytes, and the blocks that every answer repeats are decoded once. Decoding is hpack's.
"""

import base64
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from hpack import Decoder, HPACKError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD: Final = struct.Struct(">HBBBL")  # 24 bits of length in two pieces, type, flags, stream
HEAD_BYTES: Final = 9
MAX_FRAME_BYTES: Final = (
    16_384  # SETTINGS_MAX_FRAME_SIZE as it is unless said otherwise; neither side says otherwise here
)
DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = 2**31 - 1
LAST_STREAM: Final = 2**31 - 1

# Types and flags (RFC 9113 section 6).
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20

# Settings (section 6.5.2).
(
    HEADER_TABLE_SIZE,
    ENABLE_PUSH,
    MAX_CONCURRENT_STREAMS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
) = range(1, 7)

# Error codes (section 7).
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = (
    0,
    1,
    3,
    6,
    7,
    8,
    9,
)
ENHANCE_YOUR_CALM, INADEQUATE_SECURITY = 11, 12

HeaderList = tuple[tuple[str, str | bytes], ...]

_LONGEST_IN_A_BYTE: Final = 126  # a string's length has seven bits, all ones meaning that more follow


class WireError(Exception):
    """The peer broke the protocol; the message says how, and `code` is the HTTP/2 error code for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    length = len(payload)
    return FRAME_HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", key, value) for key, value in values))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The entries of a SETTINGS frame. Raises WireError."""
    if len(payload) % 6:
        raise WireError(FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
    return list(struct.iter_unpack(">HL", payload))


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", increment))


def goaway(code: int) -> bytes:
    """A GOAWAY frame of a client, which has processed no stream of the peer."""
    return frame(GOAWAY, 0, 0, struct.pack(">LL", 0, code))


def reset(stream: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, struct.pack(">L", code))


def headers(stream: int, block: bytes) -> bytes:
    """HEADERS, and CONTINUATION where the block is longer than a frame."""
    if len(block) <= MAX_FRAME_BYTES:
        return frame(HEADERS, END_HEADERS, stream, block)
    pieces = [block[at : at + MAX_FRAME_BYTES] for at in range(0, len(block), MAX_FRAME_BYTES)]
    last = len(pieces) - 1
    return b"".join(
        frame(HEADERS if not at else CONTINUATION, END_HEADERS if at == last else 0, stream, piece)
        for at, piece in enumerate(pieces)
    )


def unpadded(payload: bytes, flags: int) -> bytes:
    """The payload of DATA or HEADERS without padding and priority. Raises WireError."""
    end = len(payload)
    start = 0
    if flags & PADDED:
        if not payload:
            raise WireError(FRAME_SIZE_ERROR, "padded frame without a length")
        start, end = 1, end - payload[0]
    if flags & PRIORITISED:
        start += 5
    if start > end:
        raise WireError(PROTOCOL_ERROR, "padding longer than its frame")
    return payload[start:end]


def request_block(authority: str, path: str, *, secure: bool, user_agent: str) -> bytes:
    """The part of a request's header block that is the same for every call of a method."""
    # Appendix A of RFC 7541: 3 is `:method: POST`, 6 and 7 the schemes; the names 4 `:path`, 1 `:authority`, 31 content-type, 58 user-agent.
    return (
        b"\x83"
        + (b"\x87" if secure else b"\x86")
        + b"\x04" + _text(path.encode())
        + b"\x01" + _text(authority.encode())
        + b"\x00" + _text(b"te") + _text(b"trailers")
        + b"\x0f\x10" + _text(b"application/grpc")
        + b"\x0f\x2b" + _text(user_agent.encode())
    )  # fmt: skip


def literal(name: str, value: str | bytes) -> bytes:
    """One header that no table remembers. Names are lower case; a `-bin` value is base64 without padding, as gRPC sends it."""
    data = base64.b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode("latin-1")
    if len(data) <= _LONGEST_IN_A_BYTE:
        return _name(name) + bytes((len(data),)) + data
    return _name(name) + _text(data)


def literals(fields: Iterable[tuple[str, str | bytes]]) -> bytes:
    """Several of them. Nearly all are short texts, which are cheapest written as one: in Latin-1 a character is a byte."""
    return "".join(
        [
            f"{_short_name(name)}{chr(len(value))}{value}"
            if isinstance(value, str) and len(value) <= _LONGEST_IN_A_BYTE
            else literal(name, value).decode("latin-1")
            for name, value in fields
        ]
    ).encode("latin-1")


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    return b"\x00" + _text(name.encode("ascii"))


@lru_cache(maxsize=256)
def _short_name(name: str) -> str:
    return _name(name).decode("latin-1")


def _text(data: bytes) -> bytes:
    """A string literal without Huffman coding (RFC 7541 section 5.2)."""
    length = len(data)
    if length <= _LONGEST_IN_A_BYTE:
        return bytes((length,)) + data
    length -= 127
    prefix = bytearray((127,))
    while length >= 128:
        prefix.append(length & 127 | 128)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + data


@lru_cache(maxsize=1024)
def read_block(block: bytes, most_bytes: int) -> HeaderList:
    """The headers of a block; `-bin` values as bytes. Raises WireError."""
    decoder = Decoder(max_header_list_size=most_bytes)
    decoder.max_allowed_table_size = 0
    decoder.header_table_size = 0
    try:
        found = decoder.decode(block, raw=True)
        return tuple(_value(bytes(name).decode("ascii"), bytes(value)) for name, value in found)
    except (HPACKError, ValueError):
        raise WireError(COMPRESSION_ERROR, "unreadable header block") from None


def _value(name: str, value: bytes) -> tuple[str, str | bytes]:
    if name.endswith("-bin"):
        return name, base64.b64decode(value + b"=" * (-len(value) % 4))
    return name, value.decode("latin-1")
