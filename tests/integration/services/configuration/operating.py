"""The service as it runs, two administrators at its gateway, and one instance of bot_manager that watches."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc.aio
from google.protobuf import duration_pb2

from cli.embedded import EmbeddedMesh
from cli.ports import LOOPBACK
from mesh.configuration import SettingDefinition
from mesh.errors import MeshError
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.configuration.convert.values import from_json
from services.configuration.domain.rollout_plan import within
from tests.fakes.issuer import Issuer
from tests.fakes.revocations import fake_authentication
from tests.integration.services.configuration.history import empty_history
from tests.integration.services.configuration.running import Service, as_user, channel
from vivesphere.configuration.v1 import (
    setting_change_pb2,
    settings_service_pb2,
    settings_service_pb2_grpc,
    watch_pb2,
    watch_service_pb2,
    watch_service_pb2_grpc,
)

LIMIT = SettingDefinition[int]("bot_manager.test.limit", 3, {"type": "integer"}, "A limit.")
ANA, BEA = new_id(), new_id()
INSTANCE = "bot_manager-under-test"
PLAN = setting_change_pb2.RolloutPlan(steps_percent=[99], bake_time=duration_pb2.Duration(seconds=1))
SLOW = setting_change_pb2.RolloutPlan(
    steps_percent=[99],
    bake_time=duration_pb2.Duration(seconds=3600),
    guard=setting_change_pb2.RolloutGuard(max_error_rate=0.1, min_calls=10),
)


class World:
    """The running service, two operators at its gateway and one instance of bot_manager that watches."""

    def __init__(self, engines: EmbeddedMesh, issuer: Issuer) -> None:
        self._issuer = issuer
        self.gateway, self.own = channel(engines, "gateway"), channel(engines, "bot_manager")
        self.settings = settings_service_pb2_grpc.SettingsServiceStub(self.gateway)
        self.watch = watch_service_pb2_grpc.WatchServiceStub(self.own)
        self.told: list[watch_pb2.EffectiveSetting] = []
        self.history_id = ""
        self.revision = 0

    async def call(self, method: Any, request: Any, user: str = ANA) -> Any:
        """As an administrator. Raises the MeshError."""
        metadata = as_user(self._issuer.token("admin", subject=user))
        try:
            return await method(request, metadata=metadata, timeout=5)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def ask(self, value: int, plan: setting_change_pb2.RolloutPlan | None) -> str:
        """The id of the change that asking makes."""
        request = settings_service_pb2.UpdateSettingRequest(key=LIMIT.key, value=from_json(value), plan=plan)
        return str((await self.call(self.settings.UpdateSetting, request)).setting.pending_change_id)

    async def ask_within(self, value: int, plan: setting_change_pb2.RolloutPlan) -> str:
        """A change whose first step our instance is in; 1 of 100 is not."""
        change_id = await self.ask(value, plan)
        while not within(change_id, INSTANCE, 99):
            await self.reject(change_id)
            change_id = await self.ask(value, plan)
        return change_id

    async def reject(self, change_id: str) -> None:
        """Take it back."""
        request = settings_service_pb2.RejectSettingChangeRequest(change_id=change_id, reason="test")
        await self.call(self.settings.RejectSettingChange, request)

    async def state(self, change_id: str, wanted: int) -> setting_change_pb2.SettingChange:
        """The change once it is in a state."""
        request = settings_service_pb2.GetSettingChangeRequest(change_id=change_id)
        async with asyncio.timeout(30):
            while True:
                answer = await self.call(self.settings.GetSettingChange, request)
                change: setting_change_pb2.SettingChange = answer.setting_change
                if change.state == wanted:
                    return change
                await asyncio.sleep(0.05)

    async def report(self, report: watch_service_pb2.ReportHealthRequest) -> None:
        """Tell it again and again: of those of the same five seconds the first is kept."""
        while True:
            await self.watch.ReportHealth(report, timeout=5)
            await asyncio.sleep(0.2)

    async def follow(self) -> None:
        """Watch as an instance does, and note what is told of the setting. Comes back when told that it is too early."""
        while True:
            try:
                await self._follow_once()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)

    async def _follow_once(self) -> None:
        async for event in self.watch.Watch(watch_service_pb2.WatchRequest(instance=INSTANCE)):
            if event.HasField("snapshot"):
                self.history_id, self.revision = event.snapshot.history_id, event.snapshot.revision
                self.told += [s for s in event.snapshot.settings if s.key == LIMIT.key]
            elif event.HasField("transaction"):
                self.revision = event.transaction.revision
                self.told += [
                    change.setting
                    for change in event.transaction.changes
                    if change.HasField("setting") and change.setting.key == LIMIT.key
                ]


@asynccontextmanager
async def operating(engines: EmbeddedMesh) -> AsyncIterator[World]:
    """The service on an empty history, with LIMIT declared and watched."""
    issuer, service = Issuer(), Service(engines)
    address = f"{LOOPBACK}:{engines.ports['authentication']}"
    async with empty_history(engines), fake_authentication(engines.data, address, issuer):
        await service.start()
        world = World(engines, issuer)
        try:
            definitions = [LIMIT.to_proto()]
            await world.watch.RegisterDefinitions(
                watch_service_pb2.RegisterDefinitionsRequest(definitions=definitions, release="1.0.0"),
                timeout=5,
            )
            following = asyncio.create_task(world.follow())
            await _until_allowed(world, following)
            yield world
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
        finally:
            await world.own.close()
            await world.gateway.close()
            await service.stop()


async def _until_allowed(world: World, following: asyncio.Task[None]) -> None:
    """Until roles and keys are loaded, and the instance has its snapshot."""
    async with asyncio.timeout(30):
        while not world.told:
            if following.done():
                following.result()  # the watch's own error, instead of a timeout that hides it
            await asyncio.sleep(0.02)
        while True:
            try:
                await world.call(world.settings.ListSettings, settings_service_pb2.ListSettingsRequest())
                return
            except MeshError as error:
                if error.code not in ("UNAVAILABLE", "UNAUTHENTICATED"):
                    raise
                await asyncio.sleep(0.05)
