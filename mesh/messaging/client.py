"""nats-py's client, held to what this product promises. Everything that leans on the inside of nats-py 2.16 is in this file.

- It does not reconnect by itself. `mesh.messaging.connection` makes a new client instead: first connect and reconnect are one path,
  certificates are read anew, and the states in which nats-py gives up for good (any `-ERR`, a dead read loop) need no special care.
- A `tls://` address means TLS: nats-py goes on in clear text when the server's INFO does not ask for it.
- `keep_cancellation` gives back the cancellation that is swallowed on the way: by nats-py while it waits to flush, and by `asyncio.wait_for`
  of Python 3.11, with which nats-py connects, when what it waits for is done in the same turn of the loop.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nats import errors
from nats.aio.client import Client

from mesh.tasks import cancellations

T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 5
PING_INTERVAL_SECONDS = 10
MAX_SILENT_PINGS = 2
PENDING_BYTES = 4 * 1024 * 1024
FLUSH_TIMEOUT_SECONDS = 2.0
GOODBYE_SECONDS = 1.0
"""For the last messages to reach the server, and once more for the end of the connection; the stop of a process waits for it."""
NOBODY_SECONDS = 0.1
"""For the end of a connection on which nobody answers: half-made, lost, or to a server that hangs."""


class TlsFiles(Protocol):
    """Where the mesh identity of this process lies: PEM files."""

    @property
    def cert_file(self) -> Path: ...
    @property
    def key_file(self) -> Path: ...
    @property
    def ca_file(self) -> Path: ...


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Mutual TLS 1.3 that trusts the mesh's authorities alone and checks names. Raises OSError if a file is missing or no PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(files.ca_file)
    context.load_cert_chain(files.cert_file, files.key_file)
    return context


class StrictClient(Client):
    """A client for one connection."""

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and "tls" in self.options and not info.get("tls_required"):
            raise errors.SecureConnWantedError
        await super()._process_info(info, initial_connection)


async def open_client(
    servers: list[str],
    name: str,
    inbox_prefix: str,
    tls: ssl.SSLContext | None,
    server_name: str,
    on_error: Callable[[Exception], Awaitable[None]],
    on_lost: Callable[[], Awaitable[None]],
) -> StrictClient:
    """Connect once. Raises OSError, nats.errors.Error or TimeoutError; a failed client leaves nothing behind."""
    client = StrictClient()
    try:
        async with asyncio.timeout(2 * CONNECT_TIMEOUT_SECONDS):
            connecting = client.connect(
                servers,
                name=name,
                inbox_prefix=inbox_prefix.encode(),
                tls=tls,
                tls_hostname=server_name if tls else None,
                allow_reconnect=False,
                max_reconnect_attempts=1,  # 0 would mean for ever
                reconnect_time_wait=0,
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                ping_interval=PING_INTERVAL_SECONDS,
                max_outstanding_pings=MAX_SILENT_PINGS,
                pending_size=PENDING_BYTES,
                flush_timeout=FLUSH_TIMEOUT_SECONDS,
                error_cb=on_error,
                disconnected_cb=on_lost,
                closed_cb=on_lost,
            )
            await keep_cancellation(connecting)
    except BaseException as error:
        cause = client.last_error
        await close_client(client)
        if isinstance(error, errors.NoServersError) and cause is not None:
            raise cause from None
        raise
    return client


async def close_client(client: Client) -> None:
    """Flush what is pending if the server still listens, then close. Never raises, never takes longer than two seconds."""
    heard = client.is_connected and await _quietly(client.flush(), GOODBYE_SECONDS)
    await _quietly(client.close(), GOODBYE_SECONDS if heard else NOBODY_SECONDS)


async def _quietly(closing: Awaitable[None], seconds: float) -> bool:
    """Whether it ended well and in time."""
    try:
        async with asyncio.timeout(seconds):
            await keep_cancellation(closing)
    except (OSError, errors.Error, TimeoutError, AttributeError, AssertionError):
        # The last two: nats-py closes a client whose connection was never made.
        return False
    return True


async def send(
    client: Client, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None
) -> None:
    """Publish without waiting for an answer. Raises nats.errors.Error, OSError."""
    await keep_cancellation(client.publish(subject, payload, reply=reply, headers=headers))


async def keep_cancellation(awaitable: Awaitable[T]) -> T:
    """Await something of nats-py; if this task was cancelled meanwhile, be cancelled, even if that was swallowed on the way."""
    before = cancellations()
    try:
        return await awaitable
    finally:
        if cancellations() > before:
            raise asyncio.CancelledError  # also instead of an error: a caller would try again
