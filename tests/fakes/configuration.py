"""Configuration as its clients see it, saying what a test tells it to, over a real connection without TLS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf import json_format

from vivesphere.configuration.v1 import (
    role_pb2,
    watch_pb2,
    watch_service_pb2,
    watch_service_pb2_grpc,
)

HISTORY = "0190c6a1-0000-7000-8000-0000000000aa"
CHANGE = "0190c6a1-0000-7000-8000-0000000000cc"


class FakeConfiguration(watch_service_pb2_grpc.WatchServiceServicer):
    """Each stream sends what `say` queues for it; `cut` ends it. Requests are kept."""

    def __init__(self) -> None:
        self.registered: list[watch_service_pb2.RegisterDefinitionsRequest] = []
        self.watched: list[watch_service_pb2.WatchRequest] = []
        self.acknowledged: list[watch_service_pb2.AckRevisionRequest] = []
        self.reported: list[tuple[int, watch_service_pb2.ReportHealthRequest]] = []
        """With the number of acknowledgements that had come by then."""
        self.acknowledging = asyncio.Event()
        self.acknowledging.set()
        self.failing_acknowledgements = 0
        self._said: asyncio.Queue[watch_service_pb2.WatchResponse | grpc.StatusCode | None] = asyncio.Queue()

    def say(self, *events: watch_service_pb2.WatchResponse) -> None:
        """Send these on the stream that is open, or on the next."""
        for event in events:
            self._said.put_nowait(event)

    def cut(self, code: grpc.StatusCode | None = None) -> None:
        """End the stream, with an error if one is named."""
        self._said.put_nowait(code)

    async def RegisterDefinitions(
        self, request: watch_service_pb2.RegisterDefinitionsRequest, context: object
    ) -> watch_service_pb2.RegisterDefinitionsResponse:
        """See the contract."""
        self.registered.append(request)
        return watch_service_pb2.RegisterDefinitionsResponse()

    async def Watch(
        self, request: watch_service_pb2.WatchRequest, context: Any
    ) -> AsyncIterator[watch_service_pb2.WatchResponse]:
        """See the contract."""
        self.watched.append(request)
        while True:
            said = await self._said.get()
            if said is None:
                return
            if isinstance(said, grpc.StatusCode):
                await context.abort(said, "as the test wants it")
            yield said

    async def AckRevision(
        self, request: watch_service_pb2.AckRevisionRequest, context: Any
    ) -> watch_service_pb2.AckRevisionResponse:
        """See the contract."""
        await self.acknowledging.wait()
        if self.failing_acknowledgements:
            self.failing_acknowledgements -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as the test wants it")
        self.acknowledged.append(request)
        return watch_service_pb2.AckRevisionResponse()

    async def ReportHealth(
        self, request: watch_service_pb2.ReportHealthRequest, context: object
    ) -> watch_service_pb2.ReportHealthResponse:
        """See the contract."""
        self.reported.append((len(self.acknowledged), request))
        return watch_service_pb2.ReportHealthResponse()


@asynccontextmanager
async def fake_configuration() -> AsyncIterator[tuple[FakeConfiguration, grpc.aio.Channel]]:
    """The service, and a channel to it."""
    server, said = grpc.aio.server(), FakeConfiguration()
    watch_service_pb2_grpc.add_WatchServiceServicer_to_server(said, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield said, channel
    finally:
        await server.stop(0)


def setting(
    key: str, value: object, *, sensitive: bool = False, staged: object = None, share: int = 0
) -> watch_pb2.EffectiveSetting:
    """A setting as it travels, perhaps with another value in gradual roll-out."""
    message = watch_pb2.EffectiveSetting(key=key, sensitive=sensitive)
    json_format.ParseDict(value, message.value)
    if staged is not None:
        json_format.ParseDict(staged, message.staged.value)
        message.staged.change_id, message.staged.share_percent = CHANGE, share
    return message


def snapshot(
    revision: int, *settings: watch_pb2.EffectiveSetting, more: bool = False, history: str = HISTORY
) -> watch_service_pb2.WatchResponse:
    """Everything, or a part of it."""
    return watch_service_pb2.WatchResponse(
        snapshot=watch_pb2.PolicySnapshot(
            revision=revision,
            history_id=history,
            settings=settings,
            roles=[role_pb2.Role(id="viewer", permissions=["posts.read"])],
            more=more,
        )
    )


def transaction(revision: int, *settings: watch_pb2.EffectiveSetting) -> watch_service_pb2.WatchResponse:
    """The next revision."""
    changes = [watch_pb2.PolicyChange(setting=item) for item in settings]
    return watch_service_pb2.WatchResponse(
        transaction=watch_pb2.PolicyTransaction(revision=revision, changes=changes)
    )


def bookmark(revision: int) -> watch_service_pb2.WatchResponse:
    """Nothing is missing up to here."""
    return watch_service_pb2.WatchResponse(bookmark=watch_pb2.Bookmark(revision=revision))


def resync() -> watch_service_pb2.WatchResponse:
    """The watcher cannot go on."""
    return watch_service_pb2.WatchResponse(resync=watch_pb2.Resync(reason=watch_pb2.RESYNC_REASON_TOO_SLOW))
