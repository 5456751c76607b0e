"""Request ids and traces: taken from the client when well formed, begun here otherwise."""

import os
import re
import time
import uuid

_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]{0,200})?"
)
MAX_TRACESTATE_CHARS = 512  # what everybody has to pass on (W3C Trace Context section 3.3.1.5)
MAX_TRACESTATE_MEMBERS = 32  # section 3.3.1.1


def request_id(given: str | None) -> str:
    """The client's id, or a new UUIDv7 when it sent none or one that is not 8 to 64 letters, digits and `._-`."""
    if given is not None and _WELL_FORMED.fullmatch(given):
        return given
    return new_id()


def new_id() -> str:
    """A UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, then random bits."""
    value = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def is_traceparent(given: str) -> bool:
    """Whether a traceparent is one (W3C Trace Context section 3.2.2). A version above 00 may say more behind what is known."""
    match = _TRACEPARENT.fullmatch(given)
    return match is not None and (match[1] is None or not given.startswith("00"))


def is_tracestate(given: str) -> bool:
    """Whether a tracestate is within the bounds that everybody keeps; one that is not is left out whole."""
    return len(given) <= MAX_TRACESTATE_CHARS and given.count(",") < MAX_TRACESTATE_MEMBERS


def new_traceparent() -> str:
    """A W3C traceparent that begins a trace, so that what one request does in all services can be found together."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
