"""Host and port, as a Host header or an origin writes them (RFC 3986 section 3.2)."""

import ipaddress
import re
from typing import Final

HOST_AND_PORT: Final = r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\\\s]+)(?::([0-9]{1,5}))?"
_AUTHORITY = re.compile(HOST_AND_PORT)
_ORIGIN = re.compile(rf"(https?)://{HOST_AND_PORT}", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def parse(text: str) -> tuple[str, int | None] | None:
    """Host in lower case and port; the port is None where the text leaves it out. None for anything else."""
    match = _AUTHORITY.fullmatch(text)
    return None if match is None else (match[1].lower(), int(match[2]) if match[2] else None)


def parse_origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin of http or https, in lower case. None for anything else, `null` among it."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme = match[1].lower()
    return scheme, match[2].lower(), int(match[3]) if match[3] else _DEFAULT_PORTS[scheme]


def default_port(scheme: str) -> int:
    """The port of a scheme that names none."""
    return _DEFAULT_PORTS[scheme]


def is_loopback(host: str) -> bool:
    """True for localhost and names below it (RFC 6761 section 6.3), 127.0.0.0/8 and [::1]: browsers trust these without TLS."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
