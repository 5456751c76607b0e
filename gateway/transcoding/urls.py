"""Percent-decoding by the rules of google/api/http.proto.

A path is decoded once, after routing. A variable of one segment is decoded fully; one that spans several segments keeps
the reserved characters of RFC 6570 encoded, so that `%2F` stays distinguishable from a segment boundary. A broken escape or
bytes that are not UTF-8 are the client's mistake and raise `ValueError`.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

RESERVED = frozenset(b":/?#[]@!$&'()*+,;=")  # RFC 6570 section 1.5, the 18 reserved characters
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")


def decode(text: str) -> str:
    """Decode every escape of an ASCII text; raises ValueError for a broken escape or invalid UTF-8."""
    if "%" not in text:
        return text
    if _BROKEN.search(text):
        raise ValueError("broken percent escape")
    return unquote_to_bytes(text).decode("utf-8")


def decode_unreserved(text: str) -> str:
    """Decode every escape except those of reserved characters, which stay as they came."""
    if "%" not in text:
        return text
    if _BROKEN.search(text):
        raise ValueError("broken percent escape")
    return _ESCAPE.sub(_unless_reserved, text).encode("latin-1").decode("utf-8")


def _unless_reserved(match: re.Match[str]) -> str:
    byte = int(match[1], 16)
    return match[0] if byte in RESERVED else chr(byte)


def query_pairs(query: str) -> Iterator[tuple[str, str]]:
    """Yield the decoded `name=value` pairs of a query string in order; `+` is a space, empty pieces are skipped."""
    for piece in query.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            yield decode(name.replace("+", " ")), decode(value.replace("+", " "))
