"""Who may come in: how often one client may call, and how many calls may be under way.

A client is an IPv4 address or an IPv6 network of 64 bits, which is what one household or server gets (RFC 6177), so that
changing the last half of an address gains nothing. Each has a bucket of tokens (`requests_burst`) that fills at
`requests_per_second`; a call takes one, and without one it is refused (RATE_LIMITED, 429) with the time of the next. Calls
under way are counted by client and in all, streams apart from the others, since a stream has no end of its own; beyond the
bounds a call is refused (OVERLOADED) before it costs anything, so that a slow service is not buried under what waits for it.

Loopback has no bounds of its own, only those of all: it is the machine's own people, tests and probes. What is known of clients
is bounded: the one that was idle for longest is forgotten first, and one that comes back after that begins with a full bucket.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from gateway.settings import Limits
from gateway.transcoding.errors import RESOURCE_EXHAUSTED, GatewayError

MAX_CLIENTS: Final = 20_000  # about 4 MB
RETRY_SECONDS: Final = 1.0  # when a place may be free again; nobody knows better
IPV6_PREFIX: Final = 64
_LOOPBACK: Final = ""


class Client:
    """What is known of one client."""

    __slots__ = ("in_flight", "streams", "tokens", "updated")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.updated = now
        self.in_flight = 0
        self.streams = 0


class Admission:
    """The counts of one gateway, shared by its doors. For one event loop; `clock` gives seconds that never go back."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._clients: OrderedDict[str, Client] = OrderedDict()
        self._all = Client(0.0, 0.0)

    @property
    def known(self) -> int:
        """How many clients are remembered."""
        return len(self._clients)

    @property
    def under_way(self) -> tuple[int, int]:
        """Calls and streams that have not ended."""
        return self._all.in_flight, self._all.streams

    def enter(self, address: str) -> "Ticket":
        """Let a call of this client in, or raise GatewayError RATE_LIMITED or OVERLOADED. The ticket must leave()."""
        if self._all.in_flight >= self._limits.max_in_flight:
            raise _overloaded("the gateway has as many requests under way as it takes", http_status=503)
        key = client_key(address)
        client = None
        if key != _LOOPBACK:
            client = self._client(key)
            if client.in_flight >= self._limits.max_in_flight_per_client:
                raise _overloaded("the client has as many requests under way as it may")
            self._take_token(client)
            client.in_flight += 1
        self._all.in_flight += 1
        return Ticket(self, client)

    def _client(self, key: str) -> Client:
        client = self._clients.get(key)
        if client is None:
            if len(self._clients) >= MAX_CLIENTS:
                self._forget_one()
            client = self._clients[key] = Client(float(self._limits.requests_burst), self._clock())
        else:
            self._clients.move_to_end(key)
        return client

    def _forget_one(self) -> None:
        """Forget who was idle for longest; those with calls under way are needed until these end."""
        for key, client in self._clients.items():
            if not (client.in_flight or client.streams):
                del self._clients[key]
                return

    def _take_token(self, client: Client) -> None:
        rate = self._limits.requests_per_second
        if not rate:
            return
        now = self._clock()
        tokens = min(client.tokens + (now - client.updated) * rate, float(self._limits.requests_burst))
        client.updated = now
        if tokens < 1:
            client.tokens = tokens
            raise GatewayError(
                RESOURCE_EXHAUSTED, "RATE_LIMITED", "the client asks more often than it may",
                retry_after_seconds=(1 - tokens) / rate,
            )  # fmt: skip
        client.tokens = tokens - 1

    def move_to_streams(self, client: Client | None) -> None:
        """Count a call as a stream from now on; raises GatewayError OVERLOADED when there are enough, and counts it as before."""
        if self._all.streams >= self._limits.max_streams:
            raise _overloaded("the gateway has as many streams open as it takes", http_status=503)
        if client is not None:
            if client.streams >= self._limits.max_streams_per_client:
                raise _overloaded("the client has as many streams open as it may")
            client.in_flight -= 1
            client.streams += 1
        self._all.in_flight -= 1
        self._all.streams += 1

    def end(self, client: Client | None, *, stream: bool) -> None:
        """A call is over."""
        for counted in (self._all, client) if client is not None else (self._all,):
            if stream:
                counted.streams -= 1
            else:
                counted.in_flight -= 1


class Ticket:
    """One call that was let in."""

    __slots__ = ("_admission", "_client", "_stream")

    def __init__(self, admission: Admission, client: Client | None) -> None:
        self._admission = admission
        self._client = client
        self._stream = False

    def becomes_stream(self) -> None:
        """Say that the call is a stream; raises GatewayError OVERLOADED. Once is enough."""
        if not self._stream:
            self._admission.move_to_streams(self._client)
            self._stream = True

    def leave(self) -> None:
        """The call is over; to be called once."""
        self._admission.end(self._client, stream=self._stream)


@lru_cache(maxsize=4096)
def client_key(address: str) -> str:
    """Whom an address stands for: itself, its IPv6 network, or "" for loopback. What is no address stands for itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address or "unknown"
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    parsed = mapped or parsed
    if parsed.is_loopback:
        return _LOOPBACK
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))


def _overloaded(message: str, http_status: int = 0) -> GatewayError:
    return GatewayError(
        RESOURCE_EXHAUSTED,
        "OVERLOADED",
        message,
        http_status=http_status,
        retry_after_seconds=RETRY_SECONDS,
    )
