"""Calls to addresses that people gave: webhooks, feeds. They must not become a way into the network that the service stands in.

What a name means is decided when it is resolved, and may be something else a moment later, so the guard stands where the socket is made:
the address that is connected to is the one that was looked at, whatever name, literal or redirect led there. Cookies, proxies and
credentials of the environment are not used.
"""

import socket
from collections.abc import Callable
from errno import EACCES
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from mesh.errors import InvalidArgument

NAT64: Final = ip_network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
MAX_URL_CHARS: Final = 2048
AT_ONCE: Final = 100


class AddressRefused(OSError):
    """The address is not a public one."""


def check_url(url: str, field: str, *, allow_http: bool) -> None:
    """Raises InvalidArgument (INVALID_FIELD) unless it is an absolute https URL (or http, if allowed) without user and fragment."""
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise InvalidArgument("INVALID_FIELD", "is not a URL", field=field) from None
    if parts.scheme != "https" and not (allow_http and parts.scheme == "http"):
        raise InvalidArgument("INVALID_FIELD", "must begin with https://", field=field)
    if not sound or len(url) > MAX_URL_CHARS or any(ord(one) <= ord(" ") for one in url):
        raise InvalidArgument("INVALID_FIELD", "is not a URL", field=field)
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidArgument("INVALID_FIELD", "must hold neither user, password nor fragment", field=field)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, itself and any that is packed into it."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(one.is_global and not one.is_multicast for one in (found, *_packed(found)))


def open_session(
    allow_private: Callable[[], bool], *, at_once: int = AT_ONCE, unpack: bool = True
) -> aiohttp.ClientSession:
    """A session that connects to public addresses only, unless `allow_private` says otherwise at that moment.

    At most `at_once` connections; `unpack`: compressed answers are given unpacked, whatever they come to. A refused address is an
    `aiohttp.ClientConnectorError` with an AddressRefused inside, as any other that cannot be reached. Close it with the process.
    """

    def make_socket(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        if not (allow_private() or is_public(str(address[0]))):
            raise AddressRefused(EACCES, "the address is not a public one")
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        limit=at_once,
        socket_factory=make_socket,
        use_dns_cache=False,
        happy_eyeballs_delay=None,
        force_close=True,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=unpack,
        trust_env=False,
    )


def _packed(address: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """IPv4 addresses that a gateway on the way would take out of an IPv6 one."""
    if isinstance(address, IPv4Address):
        return ()
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(one for one in found if one is not None)
