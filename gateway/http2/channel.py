"""The way to one service: a connection to each of its addresses, used in turn.

A keeper looks the name up, connects to what it finds, and again whenever a connection ends or half a minute has passed. Until the first
attempt has ended calls wait for it; when no address can be reached they fail at once, and the keeper goes on trying, soon at first and every
two seconds later (RECONNECT_SECONDS). A call is tried again where the peer says that it did not touch it, and where the contract says that
it may be (`retryable`) after UNAVAILABLE; three attempts in all, within its deadline.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

import grpc
from loguru import logger

from gateway.http2 import wire
from gateway.http2.calls import Attempt, UnaryCall
from gateway.http2.connection import KEEPALIVE_SECONDS, Connection
from gateway.http2.streamed import StreamedCall

ATTEMPTS: Final = 3
FIRST_PAUSE_SECONDS: Final = 0.05  # between two attempts of a call; doubled each time
CONNECT_SECONDS: Final = 2.0
LOOK_UP_SECONDS: Final = 30.0
RECONNECT_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
MAX_ADDRESSES: Final = 64
MAX_KEEPALIVE_SECONDS: Final = 600.0
USER_AGENT: Final = "vivesphere-gateway"

Metadata = Sequence[tuple[str, str | bytes]]
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a service is. `tls` None is plaintext; `server_name` is whom the certificate must be of."""

    host: str
    port: int
    answer_limit: int
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    keepalive_seconds: float = KEEPALIVE_SECONDS

    @property
    def authority(self) -> str:
        """What the calls say in `:authority`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.server_name or f"{host}:{self.port}"


def parse_target(target: str) -> Address:
    """`dns:///name:port`, `ipv4:1.2.3.4:5` or `host:port` → host and port. Raises ValueError."""
    text = target
    for prefix in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        text = text.removeprefix(prefix)
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"expected host:port, not {target!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def tls_context(ca: bytes, cert_file: str, key_file: str) -> ssl.SSLContext:
    """Mutual TLS with HTTP/2 by ALPN; raises OSError or ssl.SSLError for files that are none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca.decode("ascii"))
    context.load_cert_chain(cert_file, key_file)
    context.set_alpn_protocols(["h2"])
    return context


LookUp = Callable[[str, int], Awaitable[list[Address]]]


async def look_up_addresses(host: str, port: int) -> list[Address]:
    """What the resolver of this machine finds."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):  # the last for what cannot be a name
        return []
    return list(dict.fromkeys((str(entry[4][0]), int(entry[4][1])) for entry in found))[:MAX_ADDRESSES]


class Channel:
    """Made before or in the running loop; begins with the first call, ends with `close`."""

    def __init__(
        self, target: Target, look_up: LookUp = look_up_addresses, *, streamed: bool = False
    ) -> None:
        """`look_up` gives the addresses of a host and port, none when it cannot; `streamed` is a channel for streams of answers alone."""
        self._target = target
        self._streamed = streamed
        self._look_up = look_up
        self._connections: dict[Address, Connection] = {}
        self._usable: list[Connection] = []
        self._turn = 0
        self.keepalive_seconds = target.keepalive_seconds
        """How long a service may be silent while calls wait; doubled when one complains of the pings (gRFC A8)."""
        self._keeper: asyncio.Task[None] | None = None
        self._look = asyncio.Event()
        self._tried = asyncio.Event()
        self._closed = False

    @property
    def is_connected(self) -> bool:
        """Whether a call could begin right now."""
        return bool(self._usable)

    def unary(self, path: str, *, retryable: bool) -> Callable[..., "Call"]:
        """The way to call a method: `(message, metadata=…, timeout=…)` → Call."""
        block = self._block(path)

        def begin(message: bytes, *, metadata: Metadata = (), timeout: float | None = None) -> Call:
            return Call(self, block, message, metadata, timeout, retryable)

        return begin

    def stream(self, path: str, *, retryable: bool) -> Callable[..., "Stream"]:
        """The way to call a method that answers with a stream: `(message, metadata=…, timeout=…)` → Stream."""
        block = self._block(path)

        def begin(message: bytes, *, metadata: Metadata = (), timeout: float | None = None) -> Stream:
            return Stream(self, block, message, metadata, timeout, retryable)

        return begin

    def _block(self, path: str) -> bytes:
        target = self._target
        return wire.request_block(
            target.authority, path, secure=target.tls is not None, user_agent=USER_AGENT
        )

    def pick(self) -> Connection | None:
        """The connection whose turn it is; None when there is none."""
        usable = self._usable
        if not usable:
            self._wake()
            return None
        self._turn = (self._turn + 1) % len(usable)
        return usable[self._turn]

    async def wait(self, timeout: float | None) -> Connection | None:
        """A connection, waiting for an attempt that is under way; None when none can be had."""
        try:
            async with asyncio.timeout(timeout):
                while (found := self.pick()) is None and not self._closed and not self._tried.is_set():
                    await self._tried.wait()
        except TimeoutError:
            return None
        return found

    async def close(self) -> None:
        """End every connection; calls in flight fail."""
        self._closed = True
        self._tried.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        for connection in list(self._connections.values()):
            connection.close()

    # the keeper

    def _wake(self) -> None:
        if self._keeper is None and not self._closed:
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="gateway channel")
        self._look.set()

    async def _keep(self) -> None:
        failures = 0
        while True:
            self._look.clear()
            reached = await self._connect_all()
            self._tried.set()
            if bool(failures) is reached:  # it was not so before
                told = logger.bind(
                    service=self._target.server_name or self._target.port, streams=self._streamed
                )
                told.info("service is reached" if reached else "service cannot be reached")
            failures = 0 if reached else failures + 1
            if not reached:
                await asyncio.sleep(RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS)) - 1])
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_UP_SECONDS):
                    await self._look.wait()

    async def _connect_all(self) -> bool:
        """Connect to every address that has no usable connection; whether any has one afterwards."""
        addresses = await self._look_up(self._target.host, self._target.port)
        missing = [
            address
            for address in addresses
            if (connection := self._connections.get(address)) is None or not connection.usable
        ]
        if addresses:  # a name that cannot be looked up just now keeps what it has
            for address in set(self._connections) - set(addresses):
                self._connections.pop(address).drain()
        await asyncio.gather(*(self._connect(address) for address in missing))
        self._usable = [connection for connection in self._connections.values() if connection.usable]
        return bool(self._usable)

    async def _connect(self, address: Address) -> None:
        loop = asyncio.get_running_loop()
        target = self._target
        connection = Connection(
            target.answer_limit, self._on_retired, self.keepalive_seconds, streamed=self._streamed
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                transport, _ = await loop.create_connection(
                    lambda: connection,
                    address[0],
                    address[1],
                    ssl=target.tls,
                    server_hostname=target.server_name if target.tls is not None else None,
                )
                _require_http2(transport)
                await connection.ready
        except (OSError, TimeoutError):
            connection.close()
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        old = self._connections.pop(address, None)
        self._connections[address] = connection
        if old is not None:
            old.drain()
        if connection.usable:  # at once: another address may take its whole time to fail
            self._usable = [*self._usable, connection]
            self._tried.set()

    def _on_retired(self, connection: Connection) -> None:
        """A connection takes no more calls: those that come now wait for the next attempt, which begins at once."""
        if connection.pings_are_too_many:
            self.keepalive_seconds = min(2 * self.keepalive_seconds, MAX_KEEPALIVE_SECONDS)
        if connection in self._usable:
            self._usable = [one for one in self._usable if one is not connection]
            if not self._usable:
                self._tried.clear()
            self._look.set()


def _require_http2(transport: asyncio.BaseTransport) -> None:
    """Raise OSError when TLS was agreed on without HTTP/2."""
    secured = transport.get_extra_info("ssl_object")
    if secured is not None and secured.selected_alpn_protocol() != "h2":
        raise OSError("the service does not speak HTTP/2")


A = TypeVar("A", bound=Attempt)


class _Attempts(Generic[A]):
    """What calls of both kinds have in common: a message, and the attempts to have it answered within its deadline."""

    __slots__ = (
        "_attempt", "_block", "_cancelled", "_channel", "_deadline", "_message", "_retryable", "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        channel: Channel,
        block: bytes,
        message: bytes,
        metadata: Metadata,
        timeout: float | None,
        retryable: bool,
    ) -> None:
        self._channel = channel
        self._message = message
        self._retryable = retryable
        self._cancelled = False
        self._waiting: asyncio.Task[object] | None = None
        self._block = block + wire.literals(metadata)
        self._deadline = None if timeout is None else time.monotonic() + timeout
        connection = channel.pick()
        self._attempt: A | None = None
        if connection is not None:
            self._attempt = self._begin(connection, timeout)

    def cancel(self) -> bool:
        """Give the call up; whoever waits for it gets CancelledError."""
        self._cancelled = True
        if self._waiting is not None:
            return self._waiting.cancel()
        return self._attempt is not None and self._attempt.cancel()

    async def initial_metadata(self) -> wire.HeaderList:
        """What came before the answer."""
        return () if self._attempt is None else await self._attempt.initial_metadata()

    async def trailing_metadata(self) -> wire.HeaderList:
        """What came behind the answer."""
        return () if self._attempt is None else await self._attempt.trailing_metadata()

    def _begin(self, connection: Connection, timeout: float | None) -> A:
        block = self._block
        if timeout is not None:
            block += _timeout(timeout)
        return self._on(connection, block, timeout)

    def _on(self, connection: Connection, block: bytes, timeout: float | None) -> A:
        """The attempt, begun on this connection."""
        raise NotImplementedError

    async def _next(self, number: int) -> A:
        """Begin the attempt of this number; raises AioRpcError when there is no way to."""
        if self._cancelled:
            raise asyncio.CancelledError
        pause = FIRST_PAUSE_SECONDS * 2 ** (number - 2) if number > 1 else 0.0
        if self._attempt is not None and self._attempt.untouched:
            pause = 0.0
        connection = await self._wait(pause)
        left = self._left()
        if connection is None or (left is not None and left <= 0):
            raise _unreachable(self._deadline)
        self._attempt = self._begin(connection, left)
        return self._attempt

    async def _wait(self, pause: float) -> Connection | None:
        """Pause, then wait for a connection; `cancel` ends it."""
        self._waiting = asyncio.current_task()
        try:
            if pause:
                await asyncio.sleep(pause)
            return await self._channel.wait(self._left())
        except asyncio.CancelledError:
            if self._cancelled and self._waiting is not None:
                self._waiting.uncancel()  # it is the call that ends, not the task
            raise
        finally:
            self._waiting = None

    def _may_go_again(self, error: grpc.aio.AioRpcError, attempt: A) -> bool:
        if self._cancelled:
            return False
        return attempt.untouched or (self._retryable and error.code() is grpc.StatusCode.UNAVAILABLE)

    def _left(self) -> float | None:
        return None if self._deadline is None else self._deadline - time.monotonic()


class Call(_Attempts[UnaryCall]):
    """A unary call; await it once."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, bytes]:
        attempt = self._attempt
        if attempt is not None:
            try:
                return (yield from attempt.__await__())
            except grpc.aio.AioRpcError as error:
                if not self._may_go_again(error, attempt):
                    raise
        return (yield from self._go_again().__await__())

    async def _go_again(self) -> bytes:
        """The attempts after a first one that failed or could not begin."""
        for number in range(1 if self._attempt is None else 2, ATTEMPTS + 1):
            attempt = await self._next(number)
            try:
                return await attempt
            except grpc.aio.AioRpcError as error:
                if number == ATTEMPTS or not self._may_go_again(error, attempt):
                    raise
        raise _unreachable(self._deadline)

    def _on(self, connection: Connection, block: bytes, timeout: float | None) -> UnaryCall:
        return connection.call(block, self._message, timeout)


class Stream(_Attempts[StreamedCall]):
    """A call that is answered by a stream. It is tried again only while nothing of an answer has come."""

    _settled: StreamedCall | None = None

    async def read(self) -> Any:
        """The next message, or grpc.aio.EOF. Raises AioRpcError, and CancelledError once cancel() was called."""
        return await (await self._answering()).read()

    async def initial_metadata(self) -> wire.HeaderList:
        """What came before the answers; waits for it. Raises AioRpcError when no service can be reached."""
        return await (await self._answering()).initial_metadata()

    async def _answering(self) -> StreamedCall:
        """The attempt that is answered, or failed as the last."""
        if self._settled is not None:
            return self._settled
        number = 1
        attempt = self._attempt if self._attempt is not None else await self._next(number)
        while (error := await attempt.begun()) is not None:
            if number == ATTEMPTS or not self._may_go_again(error, attempt):
                break
            number += 1
            attempt = await self._next(number)
        self._settled = attempt
        return attempt

    def _on(self, connection: Connection, block: bytes, timeout: float | None) -> StreamedCall:
        return connection.stream(block, self._message, timeout)


def _unreachable(deadline: float | None) -> grpc.aio.AioRpcError:
    late = deadline is not None and time.monotonic() >= deadline
    code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.UNAVAILABLE
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(), "the service cannot be reached"
    )


@lru_cache(maxsize=256)  # most calls have the same one, the default
def _timeout(seconds: float) -> bytes:
    """The header `grpc-timeout`: at most eight digits and a unit; rounded up, so that the service does not give up before us."""
    millis = int(seconds * 1000) + 1
    text = f"{millis}m" if millis < 100_000_000 else f"{min(int(seconds) + 1, 99_999_999)}S"
    return wire.literal("grpc-timeout", text)
