"""The feed of revocations while nothing is revoked through it: an empty snapshot, then heartbeats.

It has no entries because none are written yet: ended sessions are refused by this service itself, elsewhere their access tokens live to
their end. The receivers are served all the same, since they refuse authenticated calls until they have read a snapshot.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Final

from mesh.clock import Clock
from mesh.tasks import pause_or_stop
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1 import revocation_pb2

HEARTBEAT: Final = timedelta(seconds=1)

Feed = Callable[[int], AsyncGenerator[pb.WatchRevocationsResponse, None]]


def empty_feed(clock: Clock, stopping: asyncio.Event) -> Feed:
    """A feed that ends when the process stops."""

    async def watch(from_sequence: int) -> AsyncGenerator[pb.WatchRevocationsResponse, None]:
        yield pb.WatchRevocationsResponse(snapshot=revocation_pb2.RevocationSnapshot())
        while not stopping.is_set():
            heartbeat = revocation_pb2.RevocationHeartbeat()
            heartbeat.time.FromDatetime(clock.now())
            yield pb.WatchRevocationsResponse(heartbeat=heartbeat)
            await pause_or_stop(HEARTBEAT, stopping, clock)

    return watch
