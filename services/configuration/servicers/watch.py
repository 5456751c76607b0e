"""WatchService."""

from collections.abc import AsyncIterator

from mesh.clock import Clock
from services.configuration.convert.rollout import from_instances, to_acknowledgement, to_counts
from services.configuration.convert.settings import to_definition
from services.configuration.convert.watch import from_event
from services.configuration.domain.rollout import FORGOTTEN_AFTER, MAX_INSTANCES
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.driver import Driver
from services.configuration.feed import Feed
from services.configuration.presence import Presence
from services.configuration.servicers.caller import author, call_about
from services.configuration.store.ports import InstanceCalls, Instances
from services.configuration.watching import Watching
from vivesphere.configuration.v1 import watch_service_pb2 as pb
from vivesphere.configuration.v1 import watch_service_pb2_grpc


class WatchServicer(watch_service_pb2_grpc.WatchServiceServicer):
    """Converts, calls, converts. The caller's name comes from its certificate."""

    def __init__(
        self,
        book: SettingsBook,
        watching: Watching,
        feed: Feed,
        instances: Instances,
        presence: Presence,
        calls: InstanceCalls,
        driver: Driver,
        clock: Clock,
    ) -> None:
        self._book = book
        self._watching = watching
        self._feed = feed
        self._instances = instances
        self._presence = presence
        self._calls = calls
        self._driver = driver
        self._clock = clock

    async def RegisterDefinitions(
        self, request: pb.RegisterDefinitionsRequest, context: object
    ) -> pb.RegisterDefinitionsResponse:
        """See the contract."""
        peer = call_about().peer
        definitions = [
            to_definition(message, peer, request.release, f"definitions[{index}]")
            for index, message in enumerate(request.definitions)
        ]
        revision, invalid = await self._book.register(definitions, author())
        return pb.RegisterDefinitionsResponse(revision=revision, invalid_keys=invalid)

    async def Watch(self, request: pb.WatchRequest, context: object) -> AsyncIterator[pb.WatchResponse]:
        """See the contract."""
        async with self._presence.connected(call_about().peer, request.instance):
            async for event in self._watching.services(request.from_revision, request.history_id):
                for message in from_event(event):
                    yield message

    async def AckRevision(self, request: pb.AckRevisionRequest, context: object) -> pb.AckRevisionResponse:
        """See the contract."""
        head = self._feed.head
        said = to_acknowledgement(request, call_about().peer, head.history_id)
        if said.history_id == head.history_id:
            await self._instances.acknowledge(said, self._clock.now())
            if said.refusals:
                self._driver.wake()
        return pb.AckRevisionResponse()

    async def ReportHealth(self, request: pb.ReportHealthRequest, context: object) -> pb.ReportHealthResponse:
        """See the contract."""
        count_time, totals = to_counts(request)
        now = self._clock.now()
        await self._calls.told(call_about().peer, request.instance, count_time, totals, now)
        return pb.ReportHealthResponse()

    async def GetRollout(self, request: pb.GetRolloutRequest, context: object) -> pb.GetRolloutResponse:
        """See the contract."""
        head, now = await self._feed.refresh(), self._clock.now()
        known = await self._instances.all(request.service, now - FORGOTTEN_AFTER, MAX_INSTANCES)
        return pb.GetRolloutResponse(
            revision=head.revision, instances=from_instances(known, head.revision, now)
        )
