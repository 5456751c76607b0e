"""Percent-decoding by the rules of google/api/http.proto.

A path is decoded once, after routing. A variable of one segment is decoded fully; one that spans several segments keeps
the reserved characters of RFC 6570 encoded, so that `%2F` stays distinguishable from a segment boundary; who wants more
decoded can choose a smaller set. A broken escape or bytes that are not UTF-8 are the client's mistake and raise `ValueError`.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

RESERVED = frozenset(b":/?#[]@!$&'()*+,;=")  # RFC 6570 section 1.5, the 18 reserved characters
SLASH = frozenset(b"/")
NOTHING: frozenset[int] = frozenset()
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")


def decode(text: str) -> str:
    """Decode every escape of an ASCII text; raises ValueError for a broken escape or invalid UTF-8."""
    if "%" not in text:
        return text
    if _BROKEN.search(text):
        raise ValueError("broken percent escape")
    return unquote_to_bytes(text).decode("utf-8")


def decode_except(text: str, kept: frozenset[int] = RESERVED) -> str:
    """Decode every escape except those of the `kept` bytes, which stay as they came."""
    if "%" not in text:
        return text
    if _BROKEN.search(text):
        raise ValueError("broken percent escape")

    def one(match: re.Match[str]) -> str:
        byte = int(match[1], 16)
        return match[0] if byte in kept else chr(byte)

    return _ESCAPE.sub(one, text).encode("latin-1").decode("utf-8")


def check(text: str) -> None:
    """Raise ValueError for a broken escape or invalid UTF-8 in a text of which nothing is kept."""
    if "%" in text:
        decode(text)


def query_pairs(query: str) -> Iterator[tuple[str, str]]:
    """Yield the decoded `name=value` pairs of a query string in order; `+` is a space, empty pieces are skipped."""
    for piece in query.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            yield decode(name.replace("+", " ")), decode(value.replace("+", " "))
