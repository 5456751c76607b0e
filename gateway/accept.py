"""Which of several forms a client wants, by its Accept header (RFC 9110 section 12.5.1).

The most specific range that covers a type says how much the type is wanted. Among the types wanted most, one that was named beats one
that a wildcard covers, and then the order in which they are offered decides: so `application/json, */*` is JSON, and `*/*` is whatever is
offered first. A header that wants nothing of what is offered is disregarded, as the RFC allows; a range that cannot be read is skipped.
"""

import re
from collections.abc import Sequence
from typing import Final

MAX_RANGES: Final = 64
"""More than any browser sends; what follows is not looked at."""

_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")  # RFC 9110 section 12.4.2
_RANGE = re.compile(r"(\*|[\w!#$&^.+-]+)/(\*|[\w!#$&^.+-]+)", re.ASCII)


def preferred(header: str | None, offered: Sequence[str]) -> str:
    """The media type of `offered` (lower case, at least one) that the header wants most; the first where it does not say."""
    if header is None or header == "*/*":
        return offered[0]
    wanted = _ranges(header)
    best, chosen = (0.0, 0), offered[0]
    for media_type in offered:
        weight = _weight(wanted, media_type)
        if weight > best and weight[0] > 0:
            best, chosen = weight, media_type
    return chosen


def _ranges(header: str) -> dict[str, float]:
    """Weights by media range in lower case; the parameters of a range other than its weight are disregarded."""
    found: dict[str, float] = {}
    for part in header.split(",")[:MAX_RANGES]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weights = [text[2:] for text in parameters if text.startswith("q=")]
        if _RANGE.fullmatch(name) is None or not all(map(_WEIGHT.fullmatch, weights)):
            continue
        found[name] = max(found.get(name, 0.0), float(weights[0]) if weights else 1.0)
    return found


def _weight(wanted: dict[str, float], media_type: str) -> tuple[float, int]:
    """How much a type is wanted, and how specific the range is that says so."""
    ranges = (media_type, media_type.partition("/")[0] + "/*", "*/*")
    for specific, name in zip((3, 2, 1), ranges, strict=True):
        if name in wanted:
            return wanted[name], specific
    return 0.0, 0
