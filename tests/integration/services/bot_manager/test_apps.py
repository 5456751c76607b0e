"""AppService and QuotaService over the real chain, and the keys of apps at the real secure_bot_data."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from mesh.errors import MeshError, Unavailable
from mesh.ids import new_id
from mesh.secret import Secret
from mesh.status import from_rpc_error
from services.bot_manager.domain.apps import Apps, StoredSecrets
from services.bot_manager.domain.bots import Bots
from services.bot_manager.domain.credentials import Credentials
from services.bot_manager.domain.limits import POST
from services.bot_manager.domain.model import AttemptOutcome, BotState
from services.bot_manager.domain.quota import Quotas
from services.bot_manager.domain.reserving import Terms
from services.bot_manager.money.keys import MeshAppSecrets
from services.bot_manager.servicers.apps import AppServicer
from services.bot_manager.servicers.bots import BotServicer
from services.bot_manager.servicers.quota import QuotaServicer
from services.bot_manager.store.apps import PostgresApps
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.quota import PostgresQuota
from tests.fakes.clock import ManualClock
from tests.fakes.mesh import LocalServer, serving
from tests.integration.services.secure_bot_data.test_process import channel_as
from vivesphere.bot_manager.v1 import app_pb2, bot_pb2, bot_service_pb2, quota_pb2
from vivesphere.bot_manager.v1 import app_service_pb2 as pb
from vivesphere.bot_manager.v1 import quota_service_pb2 as quota_service
from vivesphere.bot_manager.v1.app_service_pb2_grpc import AppServiceStub, add_AppServiceServicer_to_server
from vivesphere.bot_manager.v1.bot_service_pb2_grpc import BotServiceStub, add_BotServiceServicer_to_server
from vivesphere.bot_manager.v1.quota_service_pb2_grpc import (
    QuotaServiceStub,
    add_QuotaServiceServicer_to_server,
)
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub

from .conftest import NOW, AddPost
from .connecting import flow_of
from .fakes import FakeSecrets, FakeX
from .test_money import PRICE, Till

NAMES = [f"vivesphere.bot_manager.v1.{name}Service" for name in ("App", "Bot", "Quota")]
ROLES = {"admin": frozenset({"apps.*", "bots.*"}), "viewer": frozenset({"apps.read"})}
KEYS = app_pb2.AppCredentials(consumer_key="ck", consumer_secret="cs")


@dataclass
class FakeAppSecrets:
    """Keeps secrets in memory; `failing` is raised by the next calls."""

    kept: dict[str, StoredSecrets] = field(default_factory=dict)
    failing: MeshError | None = None

    async def read(self, app_id: str) -> StoredSecrets:
        """See AppSecrets."""
        self._check()
        return self.kept.get(app_id, StoredSecrets())

    async def store(self, app_id: str, fields: Mapping[str, Secret], expected: int) -> int:
        """See AppSecrets."""
        self._check()
        assert self.kept.get(app_id, StoredSecrets()).version == expected
        self.kept[app_id] = StoredSecrets(expected + 1, dict(fields))
        return expected + 1

    async def destroy(self, app_id: str) -> None:
        """See AppSecrets."""
        self._check()
        self.kept.pop(app_id, None)

    def shown(self, app_id: str) -> dict[str, str]:
        """What is kept, in clear."""
        return {name: value.reveal() for name, value in self.kept[app_id].fields.items()}

    def _check(self) -> None:
        if self.failing is not None:
            raise self.failing


@dataclass
class Door:
    """Stubs of a caller with a token, and what stands behind the service."""

    apps: Any
    bots: Any
    quota: Any
    secrets: FakeAppSecrets
    server: LocalServer
    woken: list[bool]

    async def call(self, method: Any, request: Any, role: str = "admin") -> Any:
        """Raises the MeshError that the service raised."""
        metadata = (("authorization", f"Bearer {self.server.issuer.token(role)}"),)
        try:
            return await method(request, timeout=5, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def app(self, name: str = "ours", **fields: Any) -> app_pb2.App:
        request = pb.CreateAppRequest(app=app_pb2.App(display_name=name, **fields))
        return (await self.call(self.apps.CreateApp, request)).app

    async def update(self, app: app_pb2.App, *paths: str, **fields: Any) -> app_pb2.App:
        request = pb.UpdateAppRequest(
            app_id=app.id, app=app_pb2.App(**fields), update_mask=FieldMask(paths=paths)
        )
        return (await self.call(self.apps.UpdateApp, request)).app

    async def get(self, app_id: str) -> app_pb2.App:
        return (await self.call(self.apps.GetApp, pb.GetAppRequest(app_id=app_id))).app

    async def bot(self, app: app_pb2.App, handle: str = "acme", **fields: Any) -> bot_pb2.Bot:
        bot = bot_pb2.Bot(handle=handle, app_id=app.id, **fields)
        return (await self.call(self.bots.CreateBot, bot_service_pb2.CreateBotRequest(bot=bot))).bot


@pytest.fixture
async def door(database: Database, tmp_path: Path) -> AsyncIterator[Door]:
    clock, secrets, woken = ManualClock(NOW), FakeAppSecrets(), []
    bots, apps = PostgresBots(database, "test-1"), PostgresApps(database, clock)
    credentials = Credentials(bots, FakeSecrets(), FakeX(), apps, clock)
    page_secret = b"page secret of the test"
    credentials = Credentials(bots, FakeSecrets(), FakeX(), apps, clock)
    quotas = Quotas(bots, apps, PostgresQuota(database, Terms, clock), Terms, clock)

    def wake() -> None:
        woken.append(True)

    servicers = [
        (
            add_AppServiceServicer_to_server,
            AppServicer(
                Apps(apps, secrets, clock, new_id),
                page_secret,
                public_url="https://bots.example.org/",
                wake=wake,
            ),
        ),
        (
            add_BotServiceServicer_to_server,
            BotServicer(
                Bots(bots, clock, new_id),
                credentials,
                flow_of(database, credentials, clock),
                page_secret,
                stopped=lambda bot_id: None,
                wake=wake,
            ),
        ),
        (add_QuotaServiceServicer_to_server, QuotaServicer(quotas)),
    ]
    async with (
        serving(tmp_path, "bot_manager", NAMES, servicers, roles=ROLES) as server,
        server.channel("gateway", "bot_manager") as channel,
    ):
        stubs = AppServiceStub(channel), BotServiceStub(channel), QuotaServiceStub(channel)
        yield Door(*stubs, secrets, server, woken)


async def test_an_app_is_made_and_told_without_its_secrets(door: Door) -> None:
    """What is given is what is kept, and no answer ever shows a key."""
    given = app_pb2.AppCredentials(consumer_key="ck", consumer_secret="cs", client_secret="xs")
    app = await door.app(client_id="cid", credentials=given, limits=app_pb2.AppLimits(posts_per_day=0))
    assert app == await door.get(app.id)
    assert (app.tier, app.state) == (app_pb2.APP_TIER_PAY_PER_USE, app_pb2.APP_STATE_ACTIVE)
    assert app.callback_url == "https://bots.example.org/oauth/callback"
    assert app.limits.HasField("posts_per_day")
    assert not app.HasField("credentials")
    assert app.credentials_version == 1
    assert door.secrets.shown(app.id) == {
        "consumer_key": "ck",
        "consumer_secret": "cs",
        "client_secret": "xs",
        "client_id": "cid",
    }
    assert not app.breaker.open


async def test_a_repeated_create_answers_the_first_app(door: Door) -> None:
    """A client whose answer was lost asks again; there is one app and one set of keys."""
    request = pb.CreateAppRequest(app=app_pb2.App(display_name="ours", credentials=KEYS), request_id=new_id())
    first = await door.call(door.apps.CreateApp, request)
    assert await door.call(door.apps.CreateApp, request) == first
    assert list(door.secrets.kept) == [first.app.id]
    request.app.display_name = "another"
    with pytest.raises(MeshError) as refused:
        await door.call(door.apps.CreateApp, request)
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_secrets_given_replace_those_stored_and_the_others_stay(door: Door) -> None:
    """Nobody has to type all keys to change one."""
    app = await door.app(client_id="cid", credentials=KEYS)
    more = app_pb2.AppCredentials(client_secret="xs", bearer_token="bt")
    app = await door.update(app, credentials=more)
    assert app.credentials_version == 2
    app = await door.update(
        app,
        "credentials.bearer_token",
        credentials=app_pb2.AppCredentials(bearer_token="b2", client_secret="no"),
    )
    assert door.secrets.shown(app.id) == {
        "consumer_key": "ck",
        "consumer_secret": "cs",
        "client_secret": "xs",
        "client_id": "cid",
        "bearer_token": "b2",
    }
    app = await door.update(app, client_id="cid2")
    assert door.secrets.shown(app.id)["client_id"] == "cid2"
    assert app.credentials_version == 4
    for fields, named in (
        ({"credentials": app_pb2.AppCredentials(bearer_token="bt")}, "app.credentials"),
        ({"credentials": app_pb2.AppCredentials(consumer_key="ck")}, "app.credentials.consumer_secret"),
        ({"credentials": app_pb2.AppCredentials(client_secret="xs")}, "app.client_id"),
    ):
        with pytest.raises(MeshError) as refused:
            await door.app("another", **fields)
        assert refused.value.violations[0].field == named


async def test_nothing_is_stored_or_changed_while_the_vault_is_away(door: Door) -> None:
    """Half an app is worse than none."""
    app = await door.app(credentials=KEYS)
    door.secrets.failing = Unavailable("VAULT_UNAVAILABLE", "the secret store does not answer")
    for action in (
        door.app("another", credentials=KEYS),
        door.update(app, display_name="renamed", credentials=KEYS),
        door.call(door.apps.DeleteApp, pb.DeleteAppRequest(app_id=app.id)),
    ):
        with pytest.raises(MeshError) as refused:
            await action
        assert refused.value.reason == "VAULT_UNAVAILABLE"
    listed = await door.call(door.apps.ListApps, pb.ListAppsRequest())
    assert list(listed.apps) == [app]
    assert (await door.update(app, display_name="renamed")).display_name == "renamed"


async def test_updates_name_fields_and_are_refused_by_an_old_etag(door: Door) -> None:
    """As everywhere."""
    app = await door.app(
        budget=quota_pb2.Budget(daily_usd_micros=5), prices=app_pb2.PriceTable(post_usd_micros=1)
    )
    paused = await door.update(app, state=app_pb2.APP_STATE_PAUSED, etag=app.etag)
    assert (paused.state, paused.budget.daily_usd_micros) == (app_pb2.APP_STATE_PAUSED, 5)
    assert door.woken
    cleared = await door.update(app, "budget", "prices.post_usd_micros")
    assert not cleared.HasField("budget")
    assert not cleared.prices.HasField("post_usd_micros")
    for fields, paths, reason in (
        ({"display_name": "late", "etag": app.etag}, (), "ETAG_MISMATCH"),
        ({}, ("colour",), "UNKNOWN_FIELD"),
        ({}, ("display_name",), "INVALID_FIELD"),
    ):
        with pytest.raises(MeshError) as refused:
            await door.update(app, *paths, **fields)
        assert refused.value.reason == reason


async def test_apps_are_listed_in_either_order_page_by_page(door: Door) -> None:
    """Pages join without gap or repeat."""
    made = [(await door.app(name)).id for name in ("b", "a", "c")]
    for order, expected in (
        ("", made[::-1]),
        ("display_name", [made[1], made[0], made[2]]),
        ("display_name desc", [made[2], made[0], made[1]]),
    ):
        found, token = [], ""
        while True:
            request = pb.ListAppsRequest(page_size=2, page_token=token, order_by=order)
            page = await door.call(door.apps.ListApps, request, "viewer")
            found += [app.id for app in page.apps]
            token = page.next_page_token
            if not token:
                break
        assert sorted(found) == sorted(made)
        if order:
            assert found == expected


async def test_an_app_in_use_stays_and_one_that_is_not_goes_with_its_secrets(door: Door) -> None:
    """Its archived bots remain, without an app; the trail names the app."""
    app = await door.app(credentials=KEYS)
    bot = await door.bot(app)
    assert (await door.get(app.id)).bot_count == 1
    delete = pb.DeleteAppRequest(app_id=app.id)
    with pytest.raises(MeshError) as refused:
        await door.call(door.apps.DeleteApp, delete)
    assert refused.value.reason == "APP_IN_USE"
    await door.call(door.bots.ArchiveBot, bot_service_pb2.ArchiveBotRequest(bot_id=bot.id))
    assert (await door.get(app.id)).bot_count == 0
    await door.call(door.apps.DeleteApp, delete)
    assert door.secrets.kept == {}
    for action in (door.call(door.apps.DeleteApp, delete), door.get(app.id), door.bot(app, "other")):
        with pytest.raises(MeshError) as gone:
            await action
        assert gone.value.reason == "APP_NOT_FOUND"
    found = await door.call(door.bots.GetBot, bot_service_pb2.GetBotRequest(bot_id=bot.id))
    assert found.bot.app_id == ""


async def test_the_quota_tells_limits_spend_budgets_and_what_is_to_come(
    door: Door, database: Database, bots: PostgresBots, add_post: AddPost
) -> None:
    """The answer to "why does it wait, and what will it cost"."""
    app = await door.app(budget=quota_pb2.Budget(monthly_usd_micros=10 * PRICE))
    made = await door.bot(app, budget=quota_pb2.Budget(daily_usd_micros=3 * PRICE))
    till = Till(database, bots, add_post)
    bot = await bots.change(made.id, lambda bot: replace(bot, state=BotState.ACTIVE), NOW)
    await till.finish(await till.attempt(bot), AttemptOutcome.ACCEPTED)
    await till.attempt(bot)
    for hours in (1, 2, 24 * 2):
        await add_post(bot, due=NOW + timedelta(hours=hours))
    quota = (await door.call(door.quota.GetQuota, quota_service.GetQuotaRequest(bot_id=made.id))).quota
    assert (quota.bot_id, quota.app_id) == (made.id, app.id)
    assert quota.spend == quota.app_spend
    assert quota.spend == quota_pb2.Spend(
        today_usd_micros=2 * PRICE,
        month_usd_micros=2 * PRICE,
        reserved_usd_micros=PRICE,
        calls_today=2,
    )
    assert (quota.budget.daily_usd_micros, quota.app_budget.monthly_usd_micros) == (3 * PRICE, 10 * PRICE)
    first = quota.rate_limits[0]
    assert (first.operation, first.scope, first.limit, first.remaining) == (
        POST,
        quota_pb2.RATE_LIMIT_SCOPE_USER,
        100,
        98,
    )
    assert first.reset_time.ToDatetime() == (NOW + timedelta(minutes=15)).replace(tzinfo=None)
    assert (first.window.seconds, first.reported_by_x) == (900, False)
    forecast = quota.forecast
    assert (forecast.posts_today, forecast.posts_month) == (2, 3)
    assert (forecast.today_usd_micros, forecast.month_usd_micros) == (4 * PRICE, 5 * PRICE)
    assert forecast.exhaust_time.ToDatetime() == (NOW + timedelta(hours=2)).replace(tzinfo=None)
    assert not quota.HasField("next_post_time")
    await till.attempt(bot)
    quota = (await door.call(door.quota.GetQuota, quota_service.GetQuotaRequest(bot_id=made.id))).quota
    assert quota.next_post_time.ToDatetime() == (NOW + timedelta(hours=12)).replace(tzinfo=None)
    with pytest.raises(MeshError) as refused:
        await door.call(door.quota.GetQuota, quota_service.GetQuotaRequest(bot_id=new_id()))
    assert refused.value.reason == "BOT_NOT_FOUND"


async def test_keys_of_apps_are_kept_replaced_and_destroyed_by_the_real_service(
    engines: EmbeddedMesh, secure_bot_data: None
) -> None:
    """Its own rules for the kind hold: what we store it accepts, and what it destroyed nobody reads."""
    async with channel_as(engines, "bot_manager") as channel:
        keys, app_id = MeshAppSecrets(BotSecretServiceStub(channel)), new_id()
        assert await keys.read(app_id) == StoredSecrets()
        fields = {"consumer_key": Secret("ck"), "consumer_secret": Secret("cs")}
        assert await keys.store(app_id, fields, 0) == 1
        assert await keys.read(app_id) == StoredSecrets(1, fields)
        more = {
            **fields,
            "client_id": Secret("cid"),
            "client_secret": Secret("xs"),
            "bearer_token": Secret("bt"),
        }
        assert await keys.store(app_id, more, 1) == 2
        with pytest.raises(MeshError) as refused:
            await keys.store(app_id, fields, 1)
        assert refused.value.reason == "VERSION_MISMATCH"
        await keys.destroy(app_id)
        await keys.destroy(app_id)
        after = await keys.read(app_id)
        assert after.fields == {}
        assert await keys.store(app_id, fields, after.version) == 3
