"""Bodies that come in gzip or zstd (Content-Encoding), made plain within the limit for plain bodies.

A small body can hold gigabytes, so inflating stops one byte beyond the limit (413) and zstd gets no window beyond the 8 MiB of RFC 9659.
A body that ends too early, or goes on after its end with something else, is refused (400); another coding, or two of them,
is answered 415 with the codings that would do (RFC 9110 section 15.5.16).
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import Final

import zstandard

from gateway.edge.compression import THREAD_FROM_BYTES
from gateway.transcoding.errors import INVALID_ARGUMENT, GatewayError, malformed, too_large

ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024
_GZIP_WINDOW: Final = 31  # zlib: 15 bits, gzip framing
_BROKEN: Final = "the body is not what Content-Encoding says"


async def plain(body: bytes, content_encoding: str, limit: int) -> bytes:
    """The body without its coding, at most `limit` bytes. Raises GatewayError 413, 415 or 400."""
    coding = content_encoding.strip().lower()
    if coding in ("", "identity"):
        return body
    decode = _DECODERS.get(coding)
    if decode is None:
        raise unsupported(", ".join(_NAMES))
    if len(body) < THREAD_FROM_BYTES:
        return decode(body, limit)
    return await asyncio.to_thread(decode, body, limit)


def require_plain(content_encoding: str | None) -> None:
    """Raise GatewayError 415 for a body in a coding, where bodies are passed on as they come."""
    if content_encoding is not None and content_encoding.strip().lower() not in ("", "identity"):
        raise unsupported("identity")


def unsupported(supported: str) -> GatewayError:
    """415 with the codings that would do."""
    return GatewayError(
        INVALID_ARGUMENT, "MALFORMED_REQUEST", f"expected Content-Encoding: {supported}",
        http_status=415, headers=[(b"accept-encoding", supported.encode())],
    )  # fmt: skip


def _gunzip(body: bytes, limit: int) -> bytes:
    """All members of a gzip file (RFC 1952 section 2.2)."""
    made = bytearray()
    while True:
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            made += member.decompress(body, limit + 1 - len(made))
        except zlib.error:
            raise malformed(_BROKEN) from None
        if len(made) > limit:
            raise too_large("body", limit)
        if not member.eof:
            raise malformed(_BROKEN)
        body = member.unused_data
        if not body:
            return bytes(made)


def _unzstd(body: bytes, limit: int) -> bytes:
    """All frames of a zstd file (RFC 8878 section 3).

    Twice over: the reader can stop at the limit and does not tell a frame that was cut off; the object tells and cannot stop.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    made: list[bytes] = []
    try:
        reader, size = decompressor.stream_reader(body, read_across_frames=True), 0
        while piece := reader.read(_PIECE_BYTES):
            size += len(piece)
            if size > limit:
                raise too_large("body", limit)
        while body:
            frame = decompressor.decompressobj()
            made.append(frame.decompress(body))
            if not frame.eof:
                raise malformed(_BROKEN)
            body = frame.unused_data
    except zstandard.ZstdError:
        raise malformed(_BROKEN) from None
    return b"".join(made)


_PIECE_BYTES: Final = 128 * 1024
_DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "zstd": _unzstd,
}
_NAMES: Final = ("gzip", "zstd")
