"""Changes on their way in the service as it runs: asked for, watched, approved, judged and refused over mutual TLS."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from google.protobuf import duration_pb2, timestamp_pb2

from cli.embedded import EmbeddedMesh
from cli.ports import LOOPBACK
from mesh.configuration import SettingDefinition
from mesh.errors import InvalidArgument, MeshError, PermissionDenied
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.configuration.convert.values import from_json
from services.configuration.domain.rollout_plan import within
from tests.fakes.issuer import Issuer
from tests.fakes.revocations import fake_authentication
from tests.integration.services.configuration.history import empty_history
from tests.integration.services.configuration.running import Service, as_user, channel
from vivesphere.configuration.v1 import (
    rollout_pb2,
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
        async with asyncio.timeout(8):
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
        """Watch as an instance does, and note what is told of the setting."""
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


@pytest.fixture
async def world(engines: EmbeddedMesh) -> AsyncIterator[World]:
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
            await _until_allowed(world)
            yield world
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        finally:
            await world.own.close()
            await world.gateway.close()
            await service.stop()


async def _until_allowed(world: World) -> None:
    """Until roles and keys are loaded, and the instance has its snapshot."""
    async with asyncio.timeout(10):
        while not world.told:
            await asyncio.sleep(0.02)
        while True:
            try:
                await world.call(world.settings.ListSettings, settings_service_pb2.ListSettingsRequest())
                return
            except MeshError as error:
                if error.code not in ("UNAVAILABLE", "UNAUTHENTICATED"):
                    raise
                await asyncio.sleep(0.05)


async def test_a_rollout_goes_its_way_by_itself(world: World) -> None:
    """What an instance is told: staged first, then in force; nobody has to call."""
    change_id = await world.ask(9, PLAN)
    change = await world.state(change_id, setting_change_pb2.SETTING_CHANGE_STATE_APPLIED)
    async with asyncio.timeout(5):
        while world.revision < change.revision:
            await asyncio.sleep(0.02)
    assert [
        (setting.value.number_value, setting.staged.value.number_value, setting.staged.share_percent)
        for setting in world.told
    ] == [(3, 0, 0), (3, 9, 99), (9, 0, 0)]
    assert world.told[1].staged.change_id == change_id


async def test_a_refusal_reverts_within_a_second_or_two(world: World) -> None:
    """The acknowledgement wakes the driver; nothing waits for the end of a step."""
    change_id = await world.ask_within(9, SLOW)
    request = watch_service_pb2.AckRevisionRequest(
        instance=INSTANCE,
        revision=world.revision + 1,
        outcome=watch_service_pb2.ACK_OUTCOME_REFUSED,
        refusals=[rollout_pb2.SettingRefusal(key=LIMIT.key, reason="too large for this host")],
    )
    await world.watch.AckRevision(request, timeout=5)
    change = await world.state(change_id, setting_change_pb2.SETTING_CHANGE_STATE_REVERTED)
    assert change.outcome == f"bot_manager {INSTANCE} refused {LIMIT.key}: too large for this host"


async def test_a_guard_judges_by_what_instances_report(world: World) -> None:
    """Before the value 0 of 1,000 calls failed; since then 50 of 100."""
    began = timestamp_pb2.Timestamp(seconds=1_700_000_000)
    report = watch_service_pb2.ReportHealthRequest(instance=INSTANCE, calls=1000, count_time=began)
    await world.watch.ReportHealth(report, timeout=5)
    change_id = await world.ask_within(9, SLOW)
    report.calls, report.failed_calls = 1100, 50
    reporting = asyncio.create_task(world.report(report))
    change = await world.state(change_id, setting_change_pb2.SETTING_CHANGE_STATE_REVERTED)
    reporting.cancel()
    await asyncio.gather(reporting, return_exceptions=True)
    assert "50 of 100 calls" in change.outcome


async def test_reports_are_refused_that_cannot_be_true_or_come_from_outside(world: World) -> None:
    """More failures than calls; a caller that is no service of the mesh."""
    began = timestamp_pb2.Timestamp(seconds=1_700_000_000)
    report = watch_service_pb2.ReportHealthRequest(
        instance=INSTANCE, calls=1, failed_calls=2, count_time=began
    )
    with pytest.raises(InvalidArgument):
        await world.call(world.watch.ReportHealth, report)
    report.failed_calls = 0
    with pytest.raises(PermissionDenied) as refused:
        await world.call(watch_service_pb2_grpc.WatchServiceStub(world.gateway).ReportHealth, report)
    assert refused.value.reason == "SERVICE_NOT_ALLOWED"


async def test_a_second_administrator_approves(world: World) -> None:
    """Over the wire, with the reasons that clients switch on."""
    strict = LIMIT.to_proto()
    strict.approval_required = True
    await world.watch.RegisterDefinitions(
        watch_service_pb2.RegisterDefinitionsRequest(definitions=[strict], release="1.1.0"), timeout=5
    )
    change_id = await world.ask(9, None)
    request = settings_service_pb2.ApproveSettingChangeRequest(change_id=change_id)
    with pytest.raises(PermissionDenied) as refused:
        await world.call(world.settings.ApproveSettingChange, request)
    assert refused.value.reason == "SELF_APPROVAL_REFUSED"
    approved = (await world.call(world.settings.ApproveSettingChange, request, BEA)).setting_change
    assert (approved.state, approved.decider) == (setting_change_pb2.SETTING_CHANGE_STATE_APPLIED, BEA)
    history = await world.call(
        world.settings.ListSettingRevisions,
        settings_service_pb2.ListSettingRevisionsRequest(key=LIMIT.key),
    )
    assert [(entry.actor, entry.approver) for entry in history.revisions] == [(ANA, BEA)]
