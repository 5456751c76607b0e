"""Makes the JetStream streams of the mesh and the durable consumers of its services, as the identity `setup`.

What the streams are is said in `mesh.messaging.streams`; who consumes what, in the registry.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import nats.errors
from nats.aio.client import Client

from cli.layout import TlsFiles
from cli.registry import Service
from mesh.messaging.client import close_client, open_client, tls_context
from mesh.messaging.streams import consumers_of, ensure

SERVER = "nats"  # the name the server's certificate must carry
TIMEOUT_SECONDS = 10.0


async def prepare_streams(url: str, tls: TlsFiles, services: Sequence[Service], replicas: int = 1) -> None:
    """Makes or updates streams and consumers. Raises nats.errors.Error or OSError when the server refuses or does not answer."""
    consumers = [spec for service in services for spec in consumers_of(service.name, service.consumes)]
    async with _connected(url, tls) as client:
        await ensure(client.jetstream(timeout=TIMEOUT_SECONDS), consumers=consumers, replicas=replicas)


async def accepts(url: str, tls: TlsFiles) -> bool:
    """Whether the server lets `setup` in."""
    try:
        async with _connected(url, tls):
            return True
    except (nats.errors.Error, OSError, TimeoutError):
        return False


@asynccontextmanager
async def _connected(url: str, tls: TlsFiles) -> AsyncIterator[Client]:
    client = await open_client([url], "setup", "_INBOX_setup", tls_context(tls), SERVER, _ignore, _nothing)
    try:
        yield client
    finally:
        await close_client(client)


async def _ignore(error: Exception) -> None:
    """What goes wrong is raised by the call that waits for it."""


async def _nothing() -> None:
    """Nobody is to be told of the end."""
