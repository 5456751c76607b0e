"""Batches are smaller on the wire, and nothing that comes from the wire can fill the memory."""

import os

import pytest
import zstandard

from mesh.telemetry.compression import HEADER, MAX_BYTES, ZSTD, compress, decompress, headers_of


@pytest.mark.parametrize(
    "payload", [b"", b"\x0a\x01x", b"\x0a" + b"post claimed " * 500, b"\x0a" + os.urandom(5000)]
)
def test_a_payload_comes_back_as_it_was(payload: bytes) -> None:
    """Also through the spool, which keeps no headers."""
    packed = compress(payload)
    assert decompress(packed, headers_of(packed)) == payload
    assert len(packed) <= len(payload)


def test_only_what_becomes_smaller_is_compressed() -> None:
    """Small and random payloads would only cost time on both sides."""
    assert headers_of(compress(b"\x0a" + b"x" * 100)) == {}
    assert headers_of(compress(b"\x0a" + os.urandom(5000))) == {}
    assert headers_of(compress(b"\x0a" + b"x" * 5000)) == {HEADER: ZSTD}


@pytest.mark.parametrize(
    "frame",
    [
        zstandard.ZstdCompressor().compress(bytes(MAX_BYTES + 1)),
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(MAX_BYTES * 4)),
        b"not zstd",
        b"\x28\xb5\x2f\xfd\xff\xff",
        zstandard.ZstdCompressor().compress(bytes(range(256)) * 9)[:-9],
    ],
    ids=["tells its size", "hides its size", "text", "rubbish", "cut off"],
)
def test_a_bomb_or_rubbish_is_refused(frame: bytes) -> None:
    """A few bytes may stand for gigabytes."""
    with pytest.raises(ValueError, match=r"zstd|decompresses"):
        decompress(frame, {HEADER: ZSTD})


def test_an_unknown_encoding_is_refused() -> None:
    """Guessing would store rubbish."""
    with pytest.raises(ValueError, match="Content-Encoding"):
        decompress(b"x", {HEADER: "br"})
