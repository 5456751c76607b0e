"""Log batches on the wire: zstd where that makes them smaller, told by the header `Content-Encoding`.

In the spool there are no headers; there zstd's magic number tells, with which no LogBatch begins (its first byte is a field's tag).
"""

from collections.abc import Mapping
from typing import Final

import zstandard

KiB: Final = 1024
WORTH_BYTES: Final = 1 * KiB
"""Smaller payloads are sent as they are."""
MAX_BYTES: Final = 4096 * KiB
"""Of a payload once it is decompressed; a batch is a sixteenth of it."""
HEADER: Final = "Content-Encoding"
ZSTD: Final = "zstd"
_LEVEL: Final = 3
_MAGIC: Final = b"\x28\xb5\x2f\xfd"


def compress(payload: bytes) -> bytes:
    """The payload, or its zstd frame if that is smaller."""
    if len(payload) < WORTH_BYTES:
        return payload
    frame = zstandard.ZstdCompressor(level=_LEVEL).compress(payload)
    return frame if len(frame) < len(payload) else payload


def headers_of(payload: bytes) -> dict[str, str]:
    """The headers that a payload needs, as `compress` made it."""
    return {HEADER: ZSTD} if payload.startswith(_MAGIC) else {}


def decompress(payload: bytes, headers: Mapping[str, str]) -> bytes:
    """The payload as it was before `compress`. Raises ValueError if it cannot be, or would have more than MAX_BYTES.

    A frame has to say how much it holds: so nobody can make the receiver take more memory than that.
    """
    encoding = headers.get(HEADER, "")
    if not encoding:
        return payload
    if encoding != ZSTD:
        raise ValueError("unknown Content-Encoding")
    try:
        told = zstandard.frame_content_size(payload)
        if not 0 <= told <= MAX_BYTES:
            raise ValueError("a zstd frame without its size, or of more than 4 MiB")
        return zstandard.ZstdDecompressor().decompress(payload, allow_extra_data=False)
    except zstandard.ZstdError:
        raise ValueError("not a zstd frame") from None
