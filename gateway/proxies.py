"""Which address a client has when proxies stand in front.

A proxy writes the address it was asked from behind those that it was told of (X-Forwarded-For). Anybody can send that header, so it is
believed from the nearest hop on, for as long as the hops are proxies that the operator trusts: the first other one is the client. By
default none is trusted and the client is whoever holds the connection.
"""

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_HOPS = 16
"""More proxies in a row than anybody has; what lies further away is not looked at."""


def parse_networks(text: str) -> tuple[Network, ...]:
    """`10.0.0.0/8, ::1` → networks. Raises ValueError naming the piece that is wrong."""
    return tuple(ipaddress.ip_network(piece) for piece in map(str.strip, text.split(",")) if piece)


class Proxies:
    """Finds clients behind trusted proxies."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def client(self, peer: str, forwarded_for: str | None) -> str:
        """The client's address. `peer` holds the connection; `forwarded_for` is the header, all of its lines joined by commas."""
        if not forwarded_for or not self._trusts(_address(peer)):
            return peer
        nearest = peer
        for hop in reversed(forwarded_for.split(",")[-MAX_HOPS:]):
            address = _address(hop.strip())
            if address is None:
                return nearest  # a proxy that writes no address tells nothing of what lies behind it
            nearest = str(address)
            if not self._trusts(address):
                break
        return nearest

    @property
    def trusts_nobody(self) -> bool:
        """True when no proxy is trusted, so that no header of one is worth a look."""
        return not self._trusted

    def trusts(self, peer: str) -> bool:
        """Whether the holder of the connection is a trusted proxy."""
        return self._trusts(_address(peer))

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> Address | None:
    """An address as proxies write it: bare, or with a port (`192.0.2.1:80`, `[2001:db8::1]:80`). None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
