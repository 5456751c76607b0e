"""Changes on their way as callers see them: the servicer on the real database, with callers of several kinds."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from google.protobuf import duration_pb2

from mesh.authorization import Policy
from mesh.context import Principal, background_call
from mesh.database import Database
from mesh.errors import InvalidArgument, PermissionDenied
from services.configuration.convert.values import from_json
from services.configuration.domain.changes import Author
from services.configuration.domain.transfer_book import TransferBook
from services.configuration.servicers.settings import SettingsServicer
from tests.fakes.clock import START, ManualClock
from tests.integration.services.configuration.changing import (
    BAKE,
    DEFINITIONS,
    GUARDED,
    KEY,
    SECRET,
    Replica,
    replica,
)
from vivesphere.configuration.v1 import setting_change_pb2
from vivesphere.configuration.v1 import settings_service_pb2 as pb

ROLES = {"admin": frozenset({"*"}), "viewer": frozenset({"settings.read"})}


class Policies:
    """Implements `PolicySource`."""

    def policy(self) -> Policy:
        """Two roles."""
        return Policy(1, ROLES, {})


@contextmanager
def _as(user: str, role: str = "admin", *, key: bool = False) -> Iterator[None]:
    """Calls of a user, in a session or with an API key of theirs."""
    principal = Principal(user, "" if key else "session-1", "token-1", (role,), START + timedelta(days=9999))
    with background_call("test") as call:
        call.principal = principal
        yield


@pytest.fixture
async def one(database: Database) -> Replica:
    """A replica with four definitions."""
    made = replica(database, ManualClock())
    await made.settings.register(DEFINITIONS, Author("service:bot_manager"))
    return made


@pytest.fixture
def servicer(one: Replica) -> SettingsServicer:
    """SettingsService on it."""
    transfers = TransferBook(one.store, lambda revision: None, one.settings)
    return SettingsServicer(one.settings, one.changes, transfers, one.watching, Policies(), b"x" * 32)


async def _ask(
    servicer: SettingsServicer, key: str, value: object, plan: setting_change_pb2.RolloutPlan | None = None
) -> str:
    """The id of the change that asking makes."""
    request = pb.UpdateSettingRequest(key=key, value=from_json(value), plan=plan)
    return (await servicer.UpdateSetting(request, None)).setting.pending_change_id


async def _approve(servicer: SettingsServicer, change_id: str) -> setting_change_pb2.SettingChange:
    request = pb.ApproveSettingChangeRequest(change_id=change_id)
    return (await servicer.ApproveSettingChange(request, None)).setting_change


async def test_an_api_key_counts_as_its_owner(servicer: SettingsServicer) -> None:
    """Otherwise one person with one key would be two."""
    with _as("ana"):
        change_id = await _ask(servicer, GUARDED, 9)
    with _as("ana", key=True), pytest.raises(PermissionDenied) as refused:
        await _approve(servicer, change_id)
    assert refused.value.reason == "SELF_APPROVAL_REFUSED"
    with _as("bea", key=True):
        approved = await _approve(servicer, change_id)
    assert approved.state == setting_change_pb2.SETTING_CHANGE_STATE_APPLIED
    assert (approved.actor, approved.decider, approved.revision) == ("ana", "bea", 2)


async def test_sensitive_values_are_for_those_who_may_write(servicer: SettingsServicer) -> None:
    """In single answers and in lists; everything else of the change is for all who read."""
    with _as("ana"):
        secret, guarded = await _ask(servicer, SECRET, 9), await _ask(servicer, GUARDED, 9)
    get = pb.GetSettingChangeRequest(change_id=secret)
    for role, visible in (("admin", True), ("viewer", False)):
        with _as("cid", role):
            (diff,) = (await servicer.GetSettingChange(get, None)).setting_change.diffs
            listed = (await servicer.ListSettingChanges(pb.ListSettingChangesRequest(), None)).setting_changes
        assert (diff.key, diff.HasField("new_value")) == (SECRET, visible)
        assert [change.id for change in listed] == [guarded, secret]
        assert [change.diffs[0].HasField("new_value") for change in listed] == [True, visible]


async def test_pages_of_changes_hold_each_once(servicer: SettingsServicer) -> None:
    """Newest first, and a token is good for its own filter only."""
    with _as("ana"):
        ids = [await _ask(servicer, key, 9) for key in (GUARDED, SECRET)]
        waiting = setting_change_pb2.SETTING_CHANGE_STATE_PENDING_APPROVAL
        request = pb.ListSettingChangesRequest(page_size=1, state=waiting)
        first = await servicer.ListSettingChanges(request, None)
        request.page_token = first.next_page_token
        second = await servicer.ListSettingChanges(request, None)
        assert [page.setting_changes[0].id for page in (first, second)] == ids[::-1]
        assert second.next_page_token == ""
        request.ClearField("state")
        with pytest.raises(InvalidArgument) as refused:
            await servicer.ListSettingChanges(request, None)
    assert refused.value.reason == "INVALID_PAGE_TOKEN"


async def test_a_reset_that_waits_names_its_change_and_one_that_is_in_force_none(
    servicer: SettingsServicer,
) -> None:
    """An empty id is a promise: the default is in force."""
    reset = pb.DeleteSettingRequest(key=GUARDED)
    with _as("ana"):
        change_id = await _ask(servicer, GUARDED, 9)
        assert (await servicer.DeleteSetting(reset, None)).pending_change_id == ""  # 3 is in force
    with _as("bea"):
        await _approve(servicer, change_id)
    with _as("ana"):
        pending = (await servicer.DeleteSetting(reset, None)).pending_change_id
        assert pending not in ("", change_id)
        setting = (await servicer.GetSetting(pb.GetSettingRequest(key=GUARDED), None)).setting
        listed = (await servicer.ListSettings(pb.ListSettingsRequest(), None)).settings
    assert (setting.value.number_value, setting.pending_change_id) == (9, pending)
    assert [s.pending_change_id for s in listed if s.key == GUARDED] == [pending]


async def test_a_plan_comes_back_as_it_was_asked_for(servicer: SettingsServicer, one: Replica) -> None:
    """And 0 calls are told as what they mean."""
    plan = setting_change_pb2.RolloutPlan(
        steps_percent=[10, 50],
        bake_time=duration_pb2.Duration(seconds=60),
        guard=setting_change_pb2.RolloutGuard(max_error_rate=0.05),
    )
    with _as("ana"):
        change_id = await _ask(servicer, KEY, 9, plan)
        assert await _ask(servicer, KEY, 9, plan) == change_id
        request = pb.GetSettingChangeRequest(change_id=change_id)
        change = (await servicer.GetSettingChange(request, None)).setting_change
        plan.guard.min_calls = 100
        assert change.plan == plan
        assert (change.state, change.share_percent) == (
            setting_change_pb2.SETTING_CHANGE_STATE_ROLLING_OUT,
            10,
        )
        assert not change.HasField("expire_time")
        await one.after(BAKE)
        assert (await servicer.GetSettingChange(request, None)).setting_change.share_percent == 50
        plan.steps_percent[:] = [50, 10]
        with pytest.raises(InvalidArgument):
            await _ask(servicer, KEY, 8, plan)


async def test_a_batch_on_its_way_makes_no_revision_of_its_own(servicer: SettingsServicer) -> None:
    """The answer says where the values are: in force, or in a change."""
    request = pb.BatchUpdateSettingsRequest(
        updates=[
            pb.SettingUpdate(key=KEY, value=from_json(9)),
            pb.SettingUpdate(key=GUARDED, reset_to_default=True),
        ]
    )
    with _as("ana"):
        answer = await servicer.BatchUpdateSettings(request, None)
        assert (answer.revision, answer.pending_change_id) == (2, "")
        request.updates[1].ClearField("reset_to_default")
        request.updates[1].value.CopyFrom(from_json(9))
        request.updates[0].value.CopyFrom(from_json(8))
        answer = await servicer.BatchUpdateSettings(request, None)
    assert answer.revision == 0
    assert [s.pending_change_id for s in answer.settings] == [answer.pending_change_id] * 2
    assert answer.pending_change_id


async def test_whoever_asked_may_take_it_back(servicer: SettingsServicer) -> None:
    """Rejecting brings nothing into force, so it needs no second person."""
    with _as("ana"):
        change_id = await _ask(servicer, GUARDED, 9)
        request = pb.RejectSettingChangeRequest(change_id=change_id, reason="a typo")
        change = (await servicer.RejectSettingChange(request, None)).setting_change
    assert change.state == setting_change_pb2.SETTING_CHANGE_STATE_REJECTED
    assert (change.decider, change.outcome, change.revision) == ("ana", "a typo", 0)


async def test_an_import_waits_like_any_other_change(servicer: SettingsServicer) -> None:
    """As a whole; and a dry run says beforehand which settings are taken."""
    request = pb.ImportSettingsRequest(yaml=f"{GUARDED}: 9\n{KEY}: 8\n")
    with _as("ana"):
        answer = await servicer.ImportSettings(request, None)
        assert (answer.revision, len(answer.diffs)) == (0, 2)
        assert (await servicer.ImportSettings(request, None)).pending_change_id == answer.pending_change_id
        request.dry_run = True
        assert not (await servicer.ImportSettings(request, None)).problems
        request.yaml = f"{KEY}: 7\n"
        (problem,) = (await servicer.ImportSettings(request, None)).problems
        assert (problem.key, problem.line) == (KEY, 1)
    with _as("bea"):
        approved = await _approve(servicer, answer.pending_change_id)
    assert approved.state == setting_change_pb2.SETTING_CHANGE_STATE_APPLIED
