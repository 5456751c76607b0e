"""Requests that come compressed: gzip, which every client has and some use without being asked, within the limit for messages."""

import zlib
from typing import Final

from gateway.transcoding.errors import UNIMPLEMENTED, GatewayError, malformed, too_large

IDENTITY: Final = "identity"
GZIP: Final = "gzip"
SUPPORTED: Final = f"{IDENTITY}, {GZIP}"
_GZIP_WINDOW: Final = 31  # zlib's number for "gzip header and trailer, largest window"


def require_supported(encoding: str | None) -> str:
    """The encoding that a header names, identity where there is none; raises GatewayError for any other than gzip."""
    if encoding in (None, "", IDENTITY):
        return IDENTITY
    if encoding != GZIP:
        raise GatewayError(UNIMPLEMENTED, "NOT_IMPLEMENTED", f"supported encodings are {SUPPORTED}")
    return GZIP


def expand(data: bytes, encoding: str, limit: int) -> bytes:
    """What was compressed. Raises GatewayError when it is no gzip, or over `limit` bytes; never holds more than that."""
    if encoding == IDENTITY or not data:
        return data
    reader = zlib.decompressobj(_GZIP_WINDOW)
    try:
        made = reader.decompress(data, limit + 1)
    except zlib.error:
        raise malformed("the message is not gzip") from None
    if len(made) > limit:
        raise too_large("message", limit)
    if not reader.eof or reader.unused_data:
        raise malformed("the message is not one gzip member")
    return made
