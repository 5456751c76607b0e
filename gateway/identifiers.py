"""Request ids and traces: taken from the client when well formed, begun here otherwise."""

import os
import re
import time

_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]{0,200})?"
)
CHANCE_BYTES = 480
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}  # RFC 9562 section 4.1
MAX_TRACESTATE_CHARS = 512  # what everybody has to pass on (W3C Trace Context section 3.3.1.5)
MAX_TRACESTATE_MEMBERS = 32  # section 3.3.1.1


def request_id(given: str | None) -> str:
    """The client's id, or a new UUIDv7 when it sent none or one that is not 8 to 64 letters, digits and `._-`."""
    if given is not None and _WELL_FORMED.fullmatch(given):
        return given
    return new_id()


def new_id() -> str:
    """A UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, then random bits."""
    chance = _chance.take(10)
    moment = "%012x" % (time.time_ns() // 1_000_000)
    return f"{moment[:8]}-{moment[8:]}-7{chance[1:4]}-{_VARIANT[chance[4]]}{chance[5:8]}-{chance[8:]}"


def is_traceparent(given: str) -> bool:
    """Whether a traceparent is one (W3C Trace Context section 3.2.2). A version above 00 may say more behind what is known."""
    match = _TRACEPARENT.fullmatch(given)
    return match is not None and (match[1] is None or not given.startswith("00"))


def is_tracestate(given: str) -> bool:
    """Whether a tracestate is within the bounds that everybody keeps; one that is not is left out whole."""
    return len(given) <= MAX_TRACESTATE_CHARS and given.count(",") < MAX_TRACESTATE_MEMBERS


def new_traceparent() -> str:
    """A W3C traceparent that begins a trace, so that what one request does in all services can be found together."""
    chance = _chance.take(24)
    return f"00-{chance[:32]}-{chance[32:]}-01"


class _Chance:
    """Random bytes in hexadecimal, fetched from the operating system many at a time. For identifiers; keys are made elsewhere."""

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def take(self, size: int) -> str:
        """`size` bytes, as twice as many digits. None is given twice."""
        start, end = self._at, self._at + 2 * size
        if end > len(self._digits):
            self._digits = os.urandom(CHANCE_BYTES).hex()
            start, end = 0, 2 * size
        self._at = end
        return self._digits[start:end]


_chance = _Chance()
