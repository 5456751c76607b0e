"""Changes on their way in the service as it runs: asked for, watched, approved, judged and refused over mutual TLS."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from google.protobuf import timestamp_pb2

from cli.embedded import EmbeddedMesh
from mesh.errors import InvalidArgument, PermissionDenied
from tests.integration.services.configuration.operating import (
    ANA,
    BEA,
    INSTANCE,
    LIMIT,
    PLAN,
    SLOW,
    World,
    operating,
)
from vivesphere.configuration.v1 import (
    rollout_pb2,
    setting_change_pb2,
    settings_service_pb2,
    watch_service_pb2,
    watch_service_pb2_grpc,
)


@pytest.fixture
async def world(engines: EmbeddedMesh) -> AsyncIterator[World]:
    """The service on an empty history."""
    async with operating(engines) as world:
        yield world


async def test_a_rollout_goes_its_way_by_itself(world: World) -> None:
    """What an instance is told: staged first, then in force; nobody has to call."""
    change_id = await world.ask(9, PLAN)
    change = await world.state(change_id, setting_change_pb2.SETTING_CHANGE_STATE_APPLIED)
    async with asyncio.timeout(30):
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
