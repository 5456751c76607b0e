"""Answers in gzip or zstd, as the client's Accept-Encoding asks (RFC 9110 section 12.5.3).

Whole answers of text from 1 KiB on; beyond 64 KiB in a thread, so that others do not wait. Both codings cost tens of microseconds
for a page of posts and leave a tenth of it. Never compressed:

- what carries a secret (`traits.py`): length tells of content, and text of an attacker's beside a secret would read it out (BREACH);
- what carries an ETag: it names these very bytes (RFC 9110 section 8.8.3), and a single resource is small;
- streams, whose items have to leave at once, and bodies that a service made itself (google.api.HttpBody), which are mostly media.
"""

import asyncio
import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import zstandard

KiB: Final = 1024
COMPRESS_FROM_BYTES: Final = KiB  # below it a packet is a packet
THREAD_FROM_BYTES: Final = 64 * KiB
GZIP_LEVEL: Final = 4
ZSTD_LEVEL: Final = 3
_GZIP_WINDOW: Final = 31  # zlib: 15 bits, gzip framing

TEXT_TYPES: Final = frozenset(
    {b"application/json", b"application/yaml", b"text/html", b"text/css", b"text/plain", b"text/javascript", b"image/svg+xml"}
)  # fmt: skip
VARY: Final = (b"vary", b"accept-encoding")
MAX_CHARS: Final = 512  # of Accept-Encoding that are looked at

_ITEM = re.compile(
    r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:;\s*[qQ]\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*)?"
)


def gzip(body: bytes) -> bytes:
    """One gzip member, without a time, so that the same bytes become the same bytes."""
    made = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return made.compress(body) + made.flush()


def zstd(body: bytes) -> bytes:
    """One zstd frame that tells its size."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(body)


CODERS: Final[dict[str, Callable[[bytes], bytes]]] = {"zstd": zstd, "gzip": gzip}  # the better first


@lru_cache(maxsize=256)
def choose(accept_encoding: str) -> str:
    """The coding that the client likes best, "" for none; of what it likes equally, ours. What cannot be read asks for nothing."""
    wanted: dict[str, float] = {}
    for item in accept_encoding[:MAX_CHARS].split(","):
        match = _ITEM.fullmatch(item)
        if match is not None:
            wanted[match[1].lower()] = float(match[2] or 1)
    others = wanted.get("*", 0.0)
    weights = {
        coding: wanted.get(coding, wanted.get("x-gzip", others) if coding == "gzip" else others)
        for coding in CODERS
    }
    best = max(weights, key=lambda coding: weights[coding])
    return best if weights[best] > 0 and weights[best] >= wanted.get("identity", 0.0) else ""


def is_text(content_type: bytes) -> bool:
    """Whether compressing pays."""
    return content_type.partition(b";")[0].strip().lower() in TEXT_TYPES


async def encode(body: bytes, coding: str) -> bytes:
    """The body in a coding of CODERS."""
    if len(body) < THREAD_FROM_BYTES:
        return CODERS[coding](body)
    return await asyncio.to_thread(CODERS[coding], body)
