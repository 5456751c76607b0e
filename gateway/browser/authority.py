"""Host and port, as a Host header or an origin writes them (RFC 3986 section 3.2)."""

import ipaddress
import re
from typing import Final

HOST_AND_PORT: Final = r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\\\s]+)(?::([0-9]{1,5}))?"
_AUTHORITY = re.compile(HOST_AND_PORT)


def parse(text: str) -> tuple[str, int | None] | None:
    """Host in lower case and port; the port is None where the text leaves it out. None for anything else."""
    match = _AUTHORITY.fullmatch(text)
    return None if match is None else (match[1].lower(), int(match[2]) if match[2] else None)


def is_loopback(host: str) -> bool:
    """True for localhost and names below it (RFC 6761 section 6.3), 127.0.0.0/8 and [::1]: browsers trust these without TLS."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
