"""The service as it runs: mutual TLS, real clients, real engines; a change reaches whoever watches, across restarts."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest

from cli.embedded import EmbeddedMesh
from cli.ports import LOOPBACK
from mesh.clock import SystemClock
from mesh.configuration import ConfigurationWatch, SettingDefinition
from mesh.errors import InvalidArgument, MeshError, NotFound, PermissionDenied
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.configuration.convert.values import from_json
from services.configuration.domain.changes import Author
from services.configuration.domain.setting import Wish
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.domain.values import Stored
from services.configuration.settings import DEFINITIONS
from services.configuration.store.postgres import PostgresStore
from tests.fakes.issuer import Issuer
from tests.fakes.revocations import fake_authentication
from tests.integration.services.configuration.history import empty_history
from tests.integration.services.configuration.running import Service, as_user, channel
from vivesphere.configuration.v1 import (
    role_binding_pb2,
    role_pb2,
    role_service_pb2,
    role_service_pb2_grpc,
    rollout_pb2,
    settings_service_pb2,
    settings_service_pb2_grpc,
    watch_service_pb2,
    watch_service_pb2_grpc,
)

ATTEMPTS = SettingDefinition[int](
    key="bot_manager.publish.max_attempts",
    default=3,
    json_schema={"type": "integer", "minimum": 1, "maximum": 1_000_000},
    description="How often a post is tried.",
    unit="attempts",
)
ROOT = "0190c6a1-0000-7000-8000-00000000000a"


class Mesh:
    """The running service with an operator at its gateway."""

    def __init__(
        self, engines: EmbeddedMesh, service: Service, issuer: Issuer, other_replica: SettingsBook
    ) -> None:
        self.engines = engines
        self.service = service
        self.issuer = issuer
        self.other_replica = other_replica
        """Writes to the same database, without a hint."""
        self.gateway = channel(engines, "gateway")
        self.settings = settings_service_pb2_grpc.SettingsServiceStub(self.gateway)
        self.roles = role_service_pb2_grpc.RoleServiceStub(self.gateway)

    async def call(self, method: Any, request: Any, *roles: str, user: str = ROOT) -> Any:
        """Call as a user with these roles; `admin` if none are named. Raises the MeshError."""
        token = self.issuer.token(*(roles or ("admin",)), subject=user)
        try:
            return await method(request, metadata=as_user(token), timeout=5)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def put(
        self, value: object, *roles: str, etag: str = ""
    ) -> settings_service_pb2.UpdateSettingResponse:
        """UpdateSetting of ATTEMPTS."""
        request = settings_service_pb2.UpdateSettingRequest(
            key=ATTEMPTS.key, value=from_json(value), etag=etag, comment="test"
        )
        response: settings_service_pb2.UpdateSettingResponse = await self.call(
            self.settings.UpdateSetting, request, *roles
        )
        return response


@pytest.fixture(scope="module")
async def mesh(engines: EmbeddedMesh) -> AsyncIterator[Mesh]:
    """The service on an empty history."""
    issuer, service = Issuer(), Service(engines)
    address = f"{LOOPBACK}:{engines.ports['authentication']}"
    async with empty_history(engines) as database, fake_authentication(engines.data, address, issuer):
        other = SettingsBook(PostgresStore(database), lambda revision: None)
        await service.start()
        mesh = Mesh(engines, service, issuer, other)
        try:
            async with _watching(mesh):  # declares ATTEMPTS
                await _eventually(mesh.put, 3)
            yield mesh
        finally:
            await mesh.gateway.close()
            await service.stop()


async def _eventually(call: Callable[..., Any], *arguments: object) -> Any:
    """The first answer once roles and keys are loaded."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call(*arguments)
            except MeshError as error:
                if error.code not in ("UNAVAILABLE", "UNAUTHENTICATED", "NOT_FOUND"):
                    raise
                await asyncio.sleep(0.05)


@asynccontextmanager
async def _watching(
    mesh: Mesh, definition: SettingDefinition[int] = ATTEMPTS, instance: str = "test-1"
) -> AsyncIterator[ConfigurationWatch]:
    """bot_manager's own client, with its first snapshot."""
    own = channel(mesh.engines, "bot_manager")
    watch = ConfigurationWatch("bot_manager", instance, own, SystemClock())
    watch.define([definition])
    running = asyncio.create_task(watch.run())
    try:
        await _until(lambda: watch.revision > 0)
        yield watch
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await own.close()


async def _until(condition: Callable[[], bool], seconds: float = 5) -> float:
    """Wait for the condition; seconds that took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)
    return loop.time() - started


async def test_a_change_reaches_a_running_service(mesh: Mesh) -> None:
    """Typed, without restart, and long before any poll."""
    async with _watching(mesh) as watch:
        await mesh.put(41)
        took = await _until(lambda: watch.value(ATTEMPTS) == 41)
        assert type(watch.value(ATTEMPTS)) is int
        assert took < 0.8
        assert watch.policy().roles["viewer"] >= {"settings.read"}
        await mesh.call(
            mesh.settings.DeleteSetting, settings_service_pb2.DeleteSettingRequest(key=ATTEMPTS.key)
        )
        await _until(lambda: watch.value(ATTEMPTS) == 3)


async def test_a_change_by_another_replica_arrives_without_any_hint(mesh: Mesh) -> None:
    """NATS only makes it faster; the poll is what makes it certain."""
    async with _watching(mesh) as watch:
        await mesh.other_replica.change(Wish(ATTEMPTS.key, Stored(42)), Author("ana"))
        assert await _until(lambda: watch.value(ATTEMPTS) == 42, 3) < 2


async def test_an_invalid_value_is_refused_with_field_and_reason(mesh: Mesh) -> None:
    """And what was in force stays."""
    before = await mesh.put(10)
    for value in (0, 1.5, "ten", None, {"a": [1]}):
        with pytest.raises(InvalidArgument) as refused:
            await mesh.put(value)
        assert refused.value.reason == "INVALID_FIELD"
        assert refused.value.violations[0].field == "value"
    request = settings_service_pb2.GetSettingRequest(key=ATTEMPTS.key)
    assert (await mesh.call(mesh.settings.GetSetting, request, "viewer")).setting == before.setting


async def test_an_unknown_key_is_answered_with_the_nearest(mesh: Mesh) -> None:
    """Over the wire too."""
    request = settings_service_pb2.GetSettingRequest(key="bot_manager.publish.max_atempts")
    with pytest.raises(NotFound) as refused:
        await mesh.call(mesh.settings.GetSetting, request)
    assert refused.value.metadata["nearest"] == ATTEMPTS.key


async def test_the_service_declares_and_watches_its_own_settings(mesh: Mesh) -> None:
    """Configuration is a client of itself, by the same way as all others."""

    async def listed() -> list[str]:
        response = await mesh.call(
            mesh.settings.ListSettings,
            settings_service_pb2.ListSettingsRequest(filter='definition.owner = "configuration"'),
        )
        return [setting.key for setting in response.settings]

    assert await _eventually(listed) == sorted(definition.key for definition in DEFINITIONS)


async def test_a_restart_leaves_no_gap(mesh: Mesh) -> None:
    """Killed in mid-stream, with revisions made while it was away: every one comes, once and in order."""
    seen: list[int] = []
    own = channel(mesh.engines, "logging")
    stub = watch_service_pb2_grpc.WatchServiceStub(own)

    async def follow() -> None:
        position, history = 0, ""
        while True:
            request = watch_service_pb2.WatchRequest(
                instance="gapless", from_revision=position, history_id=history
            )
            try:
                async for response in stub.Watch(request):
                    kind = response.WhichOneof("event")
                    assert kind != "resync"
                    assert kind != "snapshot" or position == 0
                    if kind == "snapshot":
                        position, history = response.snapshot.revision, response.snapshot.history_id
                        seen.append(position)
                    elif kind == "transaction":
                        position = response.transaction.revision
                        seen.append(position)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)

    following = asyncio.create_task(follow())
    await _until(lambda: bool(seen))
    async with _watching(mesh) as watch:
        for number in range(100, 120):
            await mesh.other_replica.change(Wish(ATTEMPTS.key, Stored(number)), Author("ana"))
            if number == 107:
                await mesh.service.stop(signal.SIGKILL)
        last = watch.revision
        await mesh.service.start()
        await _until(lambda: watch.value(ATTEMPTS) == 119, 15)
        assert watch.revision > last
        newest = watch.revision
        await _until(lambda: seen[-1] >= newest, 15)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await own.close()
    assert seen == list(range(seen[0], seen[-1] + 1))
    assert len(seen) > 20


async def test_a_service_keeps_what_it_cannot_accept_and_says_so(mesh: Mesh) -> None:
    """The old value stays in force there, and GetRollout shows who refused which key."""
    strict = SettingDefinition[int](ATTEMPTS.key, 3, {"type": "integer", "maximum": 50}, "Old law.")
    async with _watching(mesh, strict, "strict-1") as old:
        await mesh.put(20)
        await _until(lambda: old.value(strict) == 20)
        async with _watching(mesh, ATTEMPTS, "new-1") as new:
            await mesh.put(500)
            await _until(lambda: new.value(ATTEMPTS) == 500)
            await _until(lambda: old.revision == new.revision)
            assert old.value(strict) == 20
            known = await _eventually_states(
                mesh,
                {
                    "strict-1": rollout_pb2.INSTANCE_STATE_REFUSED,
                    "new-1": rollout_pb2.INSTANCE_STATE_CURRENT,
                    "test-1": rollout_pb2.INSTANCE_STATE_AWAY,
                },
            )
            assert known["strict-1"].refusals[0].key == ATTEMPTS.key


async def test_a_first_value_that_breaks_the_law_gives_way_to_the_default(mesh: Mesh) -> None:
    """A process that starts has no older value to keep, and must not run with a forbidden one."""
    strict = SettingDefinition[int](
        "bot_manager.publish.limit", 3, {"type": "integer", "maximum": 50}, "Old."
    )
    wide = SettingDefinition[int]("bot_manager.publish.limit", 3, {"type": "integer"}, "New.")
    own = channel(mesh.engines, "bot_manager")
    declare = watch_service_pb2_grpc.WatchServiceStub(own).RegisterDefinitions
    await declare(
        watch_service_pb2.RegisterDefinitionsRequest(definitions=[wide.to_proto()], release="99.0.0"),
        timeout=5,
    )
    request = settings_service_pb2.UpdateSettingRequest(key=wide.key, value=from_json(600))
    await mesh.call(mesh.settings.UpdateSetting, request)
    async with _watching(mesh, strict, "old-release") as watch:
        assert watch.value(strict) == 3
    async with _watching(mesh, wide, "new-release") as watch:
        assert watch.value(wide) == 600
    await own.close()


async def test_whole_numbers_stay_whole_inside_of_values(mesh: Mesh) -> None:
    """`range(5.0)` is a TypeError in whichever service reads the setting."""
    delays = SettingDefinition[list[int]](
        "bot_manager.publish.delays", [1, 5], {"type": "array", "items": {"type": "number"}}, "Waits."
    )
    own = channel(mesh.engines, "bot_manager")
    watch = ConfigurationWatch("bot_manager", "delays-1", own, SystemClock())
    watch.define([delays])
    running = asyncio.create_task(watch.run())
    await _until(lambda: watch.revision > 0)
    request = settings_service_pb2.UpdateSettingRequest(key=delays.key, value=from_json([1, 7, 0.5]))
    await mesh.call(mesh.settings.UpdateSetting, request)
    await _until(lambda: watch.value(delays) == [1, 7, 0.5])
    assert repr(watch.value(delays)) == "[1, 7, 0.5]"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await own.close()


async def _eventually_states(mesh: Mesh, wanted: dict[str, int]) -> dict[str, rollout_pb2.InstanceStatus]:
    """What GetRollout says of bot_manager's instances once those in `wanted` are in their states."""
    stub = watch_service_pb2_grpc.WatchServiceStub(mesh.gateway)
    request = watch_service_pb2.GetRolloutRequest(service="bot_manager")
    async with asyncio.timeout(30):
        while True:
            answer = await mesh.call(stub.GetRollout, request, "viewer")
            known = {status.instance: status for status in answer.instances}
            if wanted.items() <= {name: int(status.state) for name, status in known.items()}.items():
                return known
            await asyncio.sleep(0.05)


async def test_who_may_do_what(mesh: Mesh) -> None:
    """A viewer reads; a service declares its own; the gateway is no service of the mesh."""
    with pytest.raises(PermissionDenied):
        await mesh.put(4, "viewer")
    foreign = watch_service_pb2.RegisterDefinitionsRequest(definitions=[ATTEMPTS.to_proto()], release="1.0.0")
    for identity in ("logging", "gateway"):
        own = channel(mesh.engines, identity)
        stub = watch_service_pb2_grpc.WatchServiceStub(own)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.RegisterDefinitions(foreign, timeout=5)
        assert from_rpc_error(refused.value).reason == "SERVICE_NOT_ALLOWED"
        await own.close()


async def test_a_binding_decides_calls_at_once(mesh: Mesh) -> None:
    """Roles travel in the same stream as settings; a right given or taken counts within a second."""
    user = new_id()
    listing = settings_service_pb2.ListSettingsRequest()
    with pytest.raises(PermissionDenied):
        await mesh.call(mesh.settings.ListSettings, listing, "nothing", user=user)
    wanted = role_binding_pb2.RoleBinding(subject=user, role_id="viewer")
    made = await mesh.call(
        mesh.roles.CreateRoleBinding, role_service_pb2.CreateRoleBindingRequest(role_binding=wanted)
    )

    async def may() -> bool:
        try:
            await mesh.call(mesh.settings.ListSettings, listing, "nothing", user=user)
        except PermissionDenied:
            return False
        return True

    async with asyncio.timeout(30):
        while not await may():
            await asyncio.sleep(0.005)
    request = role_service_pb2.DeleteRoleBindingRequest(binding_id=made.role_binding.id)
    await mesh.call(mesh.roles.DeleteRoleBinding, request)
    async with asyncio.timeout(30):
        while await may():
            await asyncio.sleep(0.005)


async def test_roles_and_permissions_over_the_wire(mesh: Mesh) -> None:
    """Pages, masks and etags as the contract has them."""
    created = await mesh.call(
        mesh.roles.CreateRole,
        role_service_pb2.CreateRoleRequest(
            role=role_pb2.Role(id="poster", permissions=["posts.write", "posts.read"])
        ),
    )
    assert list(created.role.permissions) == ["posts.read", "posts.write"]
    updated = await mesh.call(
        mesh.roles.UpdateRole,
        role_service_pb2.UpdateRoleRequest(
            role_id="poster", role=role_pb2.Role(description="Posts.", etag=created.role.etag)
        ),
    )
    assert (updated.role.description, list(updated.role.permissions)) == (
        "Posts.",
        ["posts.read", "posts.write"],
    )
    names: list[str] = []
    token = ""
    while True:
        page = await mesh.call(
            mesh.roles.ListRoles, role_service_pb2.ListRolesRequest(page_size=2, page_token=token), "auditor"
        )
        names += [role.id for role in page.roles]
        token = page.next_page_token
        if not token:
            break
    assert names == ["admin", "auditor", "operator", "poster", "viewer"]
    permissions = await mesh.call(
        mesh.roles.ListPermissions, role_service_pb2.ListPermissionsRequest(page_size=200)
    )
    assert "settings.write" in [permission.name for permission in permissions.permissions]
    await mesh.call(mesh.roles.DeleteRole, role_service_pb2.DeleteRoleRequest(role_id="poster"))


async def test_people_watch_settings_too(mesh: Mesh) -> None:
    """A bookmark first, then what changes, with who and why; revisions of roles alone are left out."""
    token = mesh.issuer.token("viewer", subject=ROOT)
    stream = mesh.settings.WatchSettings(
        settings_service_pb2.WatchSettingsRequest(), metadata=as_user(token), timeout=10
    )
    first: Any = await stream.read()
    assert first.HasField("bookmark")
    stored = await mesh.put(77)
    while True:
        response: Any = await stream.read()
        if response.HasField("transaction"):
            break
    (change,) = response.transaction.changes
    assert response.transaction.revision == stored.setting.revision
    assert (change.key, change.new_value.number_value, change.actor, change.comment) == (
        ATTEMPTS.key,
        77,
        ROOT,
        "test",
    )
    stream.cancel()


async def test_the_history_names_who_and_why(mesh: Mesh) -> None:
    """Old and new value of every change, newest first."""
    first = await mesh.put(200)
    await mesh.put(201, etag=first.setting.etag)
    page = await mesh.call(
        mesh.settings.ListSettingRevisions,
        settings_service_pb2.ListSettingRevisionsRequest(key=ATTEMPTS.key, page_size=2),
        "auditor",
    )
    newest = page.revisions[0]
    assert (newest.old_value.number_value, newest.new_value.number_value) == (200, 201)
    assert {revision.actor for revision in page.revisions} == {ROOT}
    assert page.next_page_token


async def test_a_file_goes_out_and_comes_back_over_the_wire(mesh: Mesh) -> None:
    """What one exports, compares and imports again is the same file, and it changes nothing."""
    before = (await mesh.put(300)).setting
    await mesh.put(301)
    exported = await mesh.call(
        mesh.settings.ExportSettings, settings_service_pb2.ExportSettingsRequest(), "viewer"
    )
    assert exported.yaml.content_type == "application/yaml"
    text = exported.yaml.data.decode()
    assert f"{ATTEMPTS.key}: 301\n" in text
    again = await mesh.call(
        mesh.settings.ImportSettings, settings_service_pb2.ImportSettingsRequest(yaml=text)
    )
    assert (again.revision, list(again.diffs)) == (0, [])
    dry = settings_service_pb2.ImportSettingsRequest(yaml=f"{ATTEMPTS.key}: none\nx.y: 1\n", dry_run=True)
    problems = (await mesh.call(mesh.settings.ImportSettings, dry)).problems
    assert [(problem.key, problem.line) for problem in problems] == [(ATTEMPTS.key, 1), ("x.y", 2)]
    assert problems[0].description == "'none' is not of type 'integer'"
    assert problems[1].description.startswith("no setting is called x.y")
    diff = await mesh.call(
        mesh.settings.DiffSettings,
        settings_service_pb2.DiffSettingsRequest(from_revision=before.revision),
        "viewer",
    )
    (changed,) = (item for item in diff.diffs if item.key == ATTEMPTS.key)
    assert (changed.old_value.number_value, changed.new_value.number_value) == (300, 301)


async def test_sensitive_values_are_for_those_who_may_change_them(mesh: Mesh) -> None:
    """A viewer sees that an address changed, not what it is; in a file it is not at all."""
    own = channel(mesh.engines, "bot_manager")
    address = watch_service_pb2.RegisterDefinitionsRequest(release="1.0.0")
    definition = SettingDefinition[str](
        "bot_manager.test.address", "", {"type": "string"}, "An address."
    ).to_proto()
    definition.sensitive = True
    address.definitions.append(definition)
    await watch_service_pb2_grpc.WatchServiceStub(own).RegisterDefinitions(address, timeout=5)
    await own.close()
    update = settings_service_pb2.UpdateSettingRequest(key=definition.key, value=from_json("10.0.0.1"))
    await mesh.call(mesh.settings.UpdateSetting, update)
    everything = settings_service_pb2.DiffSettingsRequest()
    for role, shown in (("viewer", False), ("admin", True)):
        answer = await mesh.call(mesh.settings.DiffSettings, everything, role)
        (item,) = (item for item in answer.diffs if item.key == definition.key)
        assert (item.new_value.string_value == "10.0.0.1", item.HasField("new_value")) == (shown, shown)
    exported = await mesh.call(
        mesh.settings.ExportSettings, settings_service_pb2.ExportSettingsRequest(include_defaults=True)
    )
    assert definition.key.encode() not in exported.yaml.data


async def test_a_binding_to_what_is_no_bot_id_is_refused(mesh: Mesh) -> None:
    """It would grant nothing, and look as if it did."""
    wanted = role_binding_pb2.RoleBinding(subject=new_id(), role_id="viewer", bot_id="my-bot")
    with pytest.raises(InvalidArgument) as refused:
        await mesh.call(
            mesh.roles.CreateRoleBinding, role_service_pb2.CreateRoleBindingRequest(role_binding=wanted)
        )
    assert refused.value.violations[0].field == "role_binding.bot_id"


async def test_access_is_explained_over_the_wire(mesh: Mesh) -> None:
    """With the rule of a method of another service, and the binding that decides."""
    user, bot = new_id(), new_id()
    wanted = role_binding_pb2.RoleBinding(subject=user, role_id="operator", bot_id=bot)
    made = await mesh.call(
        mesh.roles.CreateRoleBinding, role_service_pb2.CreateRoleBindingRequest(role_binding=wanted)
    )
    request = role_service_pb2.ExplainAccessRequest(
        subject=user, method="vivesphere.bot_manager.v1.PostService/CreatePost", bot_id=bot, roles=["viewer"]
    )
    answer = await mesh.call(mesh.roles.ExplainAccess, request, "auditor")
    assert (answer.allowed, answer.permission, answer.rule.permission) == (True, "posts.write", "posts.write")
    assert (answer.grant.role_id, answer.grant.binding_id) == ("operator", made.role_binding.id)
    assert [grant.role_id for grant in answer.considered] == ["viewer", "operator"]
    request.bot_id = new_id()
    answer = await mesh.call(mesh.roles.ExplainAccess, request, "auditor")
    assert (answer.allowed, answer.HasField("grant")) == (False, False)
    request.method = "vivesphere.bot_manager.v1.PostService/Nothing"
    with pytest.raises(InvalidArgument) as refused:
        await mesh.call(mesh.roles.ExplainAccess, request, "auditor")
    assert refused.value.violations[0].field == "method"


async def test_stopping_does_not_wait_for_streams(mesh: Mesh) -> None:
    """Watchers hold streams for ever; a supervisor gives a service a few seconds."""
    async with _watching(mesh) as watch:
        assert await mesh.service.stop() < timedelta(seconds=3).total_seconds()
        before = watch.revision
        await mesh.service.start()
        await _eventually(mesh.put, 55)
        await _until(lambda: watch.value(ATTEMPTS) == 55, 10)
        assert watch.revision > before
