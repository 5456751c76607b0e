"""Request ids and traces: taken from the client when well formed, begun here otherwise."""

import os
import re
import time
import uuid

_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")


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


def new_traceparent() -> str:
    """A W3C traceparent that begins a trace, so that what one request does in all services can be found together."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
