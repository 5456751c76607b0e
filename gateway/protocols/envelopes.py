"""Messages in envelopes: one byte of flags, four of length (big-endian), the message. gRPC, gRPC-Web and Connect share them.

In grpc-web-text the whole is base64, which may end and begin again anywhere behind a padding.
"""

import base64
import binascii
import re
from typing import Final

from gateway.protocols.compression import IDENTITY, expand
from gateway.transcoding.errors import malformed, too_large

HEAD_BYTES: Final = 5
COMPRESSED: Final = 0x01

_RUN: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}")


def seal(flags: int, message: bytes) -> bytes:
    """A message in its envelope."""
    return bytes((flags,)) + len(message).to_bytes(4, "big") + message


def open_one(body: bytes, limit: int, encoding: str) -> bytes:
    """The only message of a request body. Raises GatewayError: none, several, cut short, over `limit` bytes.

    `encoding` is how messages with the flag COMPRESSED are compressed.
    """
    if len(body) < HEAD_BYTES:
        raise malformed("expected one message in an envelope of five bytes")
    flags, size = body[0], int.from_bytes(body[1:HEAD_BYTES], "big")
    if size > limit:
        raise too_large("message", limit)
    if flags not in (0, COMPRESSED):
        raise malformed("the envelope has flags that a request cannot have")
    if len(body) != HEAD_BYTES + size:
        raise malformed("the body is not exactly one message")
    message = body[HEAD_BYTES:]
    if not flags:
        return message
    if encoding == IDENTITY:
        raise malformed("a compressed message, and no header that says how")
    return expand(message, encoding, limit)


def from_text(body: bytes) -> bytes:
    """The bytes that base64 with padding in mid-stream stands for; raises GatewayError."""
    runs = _RUN.findall(body)
    if sum(map(len, runs)) != len(body):
        raise malformed("the body is not base64")
    try:
        return b"".join(base64.b64decode(run, validate=True) for run in runs)
    except binascii.Error:
        raise malformed("the body is not base64") from None
