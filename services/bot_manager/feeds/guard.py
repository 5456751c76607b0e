"""Keeps feeds from being a way into private networks: each address is looked at when the connection to it is made.

A name that resolves to something else the second time gains nothing by it, since what is checked is what is connected to; redirects and
literal addresses go the same way.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""


class PrivateAddress(OSError):
    """The address is not one of the public internet."""

    def __init__(self) -> None:
        super().__init__("the address is inside a private network")


def is_public(text: str) -> bool:
    """Whether an IP address, and whatever IPv4 address it carries inside, is one of the public internet."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return all(one.is_global and not one.is_multicast for one in (address, *_inside(address)))


def _inside(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def guarded(allow_private: Callable[[], bool]) -> Callable[[Any], socket.socket]:
    """A factory of sockets for aiohttp that makes none for a private address. Raises PrivateAddress."""

    def make(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        if not allow_private() and not is_public(str(address[0])):
            raise PrivateAddress
        return socket.socket(family, kind, protocol)

    return make
