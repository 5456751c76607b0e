"""The feed of revocations as a test wants it: real entries in order, and silence, breaks and gaps at a word.

`Feed.watch` is what a process gets as its source; `FakeAuthentication` serves the same over gRPC to service processes, with the
public keys of a test's issuer, where authentication would be.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import grpc.aio
from google.api import httpbody_pb2

from cli.layout import DataDir
from mesh.clock import Clock, SystemClock
from mesh.errors import MeshError
from mesh.server import server_credentials
from tests.fakes.issuer import Issuer
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1 import authentication_service_pb2_grpc, revocation_pb2

HEARTBEAT_SECONDS = 0.2


def entry(
    sequence: int, kind: int, revoked_id: str, revoke_time: datetime, life: timedelta = timedelta(hours=1)
) -> revocation_pb2.Revocation:
    """An entry of the feed that expires `life` after it was made."""
    made = revocation_pb2.Revocation(
        sequence=sequence,
        kind=kind,  # type: ignore[arg-type]  # kinds of newer versions are plain numbers
        id=revoked_id,
    )
    made.revoke_time.FromDatetime(revoke_time)
    made.expire_time.FromDatetime(revoke_time + life)
    return made


def snapshot(
    sequence: int, entries: Iterable[revocation_pb2.Revocation] = (), *, more: bool = False
) -> pb.WatchRevocationsResponse:
    """One part of a snapshot; the last one unless there is more."""
    part = revocation_pb2.RevocationSnapshot(sequence=sequence, revocations=entries, more=more)
    return pb.WatchRevocationsResponse(snapshot=part)


def heartbeat(sequence: int) -> pb.WatchRevocationsResponse:
    """A sign of life."""
    return pb.WatchRevocationsResponse(heartbeat=revocation_pb2.RevocationHeartbeat(sequence=sequence))


class Feed:
    """Keeps entries and sends them to whoever watches, in the order in which `revoke` was called."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.entries: list[revocation_pb2.Revocation] = []
        self.silent = False
        """True: nothing is sent any more, and no stream ends."""
        self._clock = clock or SystemClock()
        self._news = asyncio.Event()

    def revoke(self, kind: int, revoked_id: str) -> None:
        """Add an entry, told at once."""
        made = entry(len(self.entries) + 1, kind, revoked_id, self._clock.now())
        self.entries.append(made)
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def watch(self, from_sequence: int) -> AsyncGenerator[pb.WatchRevocationsResponse, None]:
        """See `mesh.identity.revocations.Source`."""
        sent = from_sequence
        await self._unless_silent()
        if sent == 0 or sent > len(self.entries):
            sent = len(self.entries)
            yield snapshot(sent, self.entries)
        while True:
            await self._unless_silent()
            for made in self.entries[sent:]:
                yield pb.WatchRevocationsResponse(revocation=made)
                sent = made.sequence
            yield heartbeat(sent)
            await self._news_or_beat()

    async def _unless_silent(self) -> None:
        while self.silent:
            await asyncio.sleep(0.01)

    async def _news_or_beat(self) -> None:
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return


class FakeAuthentication(authentication_service_pb2_grpc.AuthenticationServiceServicer):
    """What every service wants of authentication: keys that verify tokens, and the feed."""

    def __init__(self, issuer: Issuer, feed: Feed) -> None:
        self._issuer = issuer
        self._feed = feed

    async def GetJwks(self, request: pb.GetJwksRequest, context: Any) -> pb.GetJwksResponse:
        """As authentication answers."""
        body = httpbody_pb2.HttpBody(content_type="application/jwk-set+json", data=await self._issuer.jwks())
        return pb.GetJwksResponse(jwks=body)

    async def WatchRevocations(
        self, request: pb.WatchRevocationsRequest, context: Any
    ) -> AsyncIterator[pb.WatchRevocationsResponse]:
        """As authentication answers."""
        async for event in self._feed.watch(request.from_sequence):
            yield event


@asynccontextmanager
async def fake_authentication(
    data: DataDir, address: str, issuer: Issuer, feed: Feed | None = None
) -> AsyncIterator[int]:
    """A server at `address` with authentication's certificate; gives its port."""
    server = grpc.aio.server()
    authentication_service_pb2_grpc.add_AuthenticationServiceServicer_to_server(
        FakeAuthentication(issuer, feed or Feed()), server
    )
    port = server.add_secure_port(address, server_credentials(data.tls_files("authentication")))
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


class Script:
    """A source that gives what a test puts in, and notes from where it was watched."""

    def __init__(self) -> None:
        self.watched: list[int] = []
        self._events: asyncio.Queue[pb.WatchRevocationsResponse | MeshError | None] = asyncio.Queue()

    def give(self, *events: pb.WatchRevocationsResponse | MeshError | None) -> None:
        """What comes next, on this stream or the next one: an event, an error, or None for the end of the stream."""
        for event in events:
            self._events.put_nowait(event)

    async def watch(self, from_sequence: int) -> AsyncGenerator[pb.WatchRevocationsResponse, None]:
        """See `mesh.identity.revocations.Source`."""
        self.watched.append(from_sequence)
        while (event := await self._events.get()) is not None:
            if isinstance(event, MeshError):
                raise event
            yield event
