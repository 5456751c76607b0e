"""Connecting and replacing credentials over the real chain: what is promised, and what a hostile callback gets."""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc.aio
import pytest
from sqlalchemy import select

from mesh.database import Database
from mesh.errors import FailedPrecondition, MeshError, OutcomeUnknown, Unavailable
from mesh.ids import new_id
from mesh.secret import Secret
from mesh.status import from_rpc_error
from services.bot_manager.domain.bots import Bots
from services.bot_manager.domain.credentials import Credentials
from services.bot_manager.domain.limits import WHO_AM_I
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.domain.money import App
from services.bot_manager.servicers.bots import BotServicer
from services.bot_manager.store.apps import PostgresApps
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.tables.connecting import oauth_connects, secret_destructions
from services.bot_manager.x.port import XAccount
from tests.fakes.clock import ManualClock
from tests.fakes.mesh import serving
from vivesphere.bot_manager.v1 import bot_pb2, bot_service_pb2_grpc, credentials_pb2
from vivesphere.bot_manager.v1 import bot_service_pb2 as pb

from .conftest import NOW
from .connecting import FakeApps, FakeCodeEndpoint, flow_of
from .fakes import FakeSecrets, FakeX

APP = new_id()
CLIENT = "client-of-the-app"
PAIR = {"access_token": "canary-access", "refresh_token": "canary-refresh"}
OAUTH1 = credentials_pb2.OAuth1Credentials(
    consumer_key="ck", consumer_secret="cs", access_token="at", access_token_secret="as"
)


@dataclass
class Door:
    """A caller with a token, and what stands behind the service."""

    stub: Any
    token: str
    x: FakeX
    secrets: FakeSecrets
    endpoint: FakeCodeEndpoint
    apps: FakeApps
    bots: PostgresBots
    clock: ManualClock
    stopped: list[str]
    calls: list[tuple[str, str, int]]

    async def call(self, method: str, request: Any, *, signed: bool = True) -> Any:
        """Raises the MeshError that the service raised."""
        metadata = (("authorization", f"Bearer {self.token}"),) if signed else ()
        try:
            return await getattr(self.stub, method)(request, timeout=5, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def bot(self, handle: str = "acme", **fields: Any) -> Bot:
        """A bot of the app."""
        given = {"app_id": APP, "state": BotState.DRAFT} | fields
        state = given.pop("state")
        return await self.bots.create(Bot(new_id(), handle, state, NOW, NOW, **given), None)

    async def start(self, bot: Bot, **fields: Any) -> dict[str, str]:
        """The parameters of the page of X."""
        answer = await self.call("StartConnect", pb.StartConnectRequest(bot_id=bot.id, **fields))
        return {
            name: values[0] for name, values in parse_qs(urlsplit(answer.authorization_url).query).items()
        }

    async def complete(self, **parameters: str) -> pb.CompleteConnectResponse:
        """X sends the browser back, which carries no session."""
        return await self.call("CompleteConnect", pb.CompleteConnectRequest(**parameters), signed=False)

    async def set(self, bot: Bot, **fields: Any) -> pb.SetCredentialsResponse:
        """SetCredentials; without fields those of OAuth 1.0a."""
        request = pb.SetCredentialsRequest(bot_id=bot.id, **(fields or {"oauth1": OAUTH1}))
        return await self.call("SetCredentials", request)


@pytest.fixture
async def door(database: Database, tmp_path: Path) -> AsyncIterator[Door]:
    clock, x, secrets, endpoint = ManualClock(NOW), FakeX(), FakeSecrets(), FakeCodeEndpoint()
    apps = FakeApps({APP: CLIENT}, {CLIENT: Secret("canary-client-secret")})
    bots, stopped = PostgresBots(database, "test-1"), []
    calls: list[tuple[str, str, int]] = []
    await PostgresApps(database, clock).create(App(APP, "Fleet", NOW, NOW, client_id=CLIENT), None)
    credentials = Credentials(bots, secrets, x, apps, clock, lambda *call: calls.append(call))
    servicer = BotServicer(
        Bots(bots, clock, new_id),
        credentials,
        flow_of(database, credentials, clock, apps, endpoint),
        b"page secret of the test",
        stopped=stopped.append,
        wake=lambda: None,
    )
    served = [(bot_service_pb2_grpc.add_BotServiceServicer_to_server, servicer)]
    names = ["vivesphere.bot_manager.v1.BotService"]
    async with (
        serving(tmp_path, "bot_manager", names, served, roles={"operator": frozenset({"bots.*"})}) as server,
        server.channel("gateway", "bot_manager") as channel,
    ):
        stub = bot_service_pb2_grpc.BotServiceStub(channel)
        token = server.issuer.token("operator")
        yield Door(stub, token, x, secrets, endpoint, apps, bots, clock, stopped, calls)


async def refusal(awaitable: Awaitable[Any]) -> MeshError:
    """The error, which holds no token."""
    with pytest.raises(MeshError) as refused:
        await awaitable
    assert "canary" not in f"{refused.value!r} {refused.value.metadata}"
    return refused.value


async def test_an_account_is_connected_from_click_to_active_bot(door: Door, database: Database) -> None:
    """State and verifier stay with the server, the code is exchanged with them, and X says whose the account is."""
    bot = await door.bot()
    asked = await door.start(bot)
    async with database.read() as connection:
        kept = str((await connection.execute(select(oauth_connects))).all())
    assert asked["state"] not in kept
    assert (asked["client_id"], asked["code_challenge_method"]) == (CLIENT, "S256")
    assert asked["redirect_uri"] == "https://bots.example/oauth/callback"
    assert asked["scope"] == "tweet.read tweet.write users.read media.write offline.access"
    answer = await door.complete(state=asked["state"], code="canary-code", iss="https://x.example")
    assert (answer.bot_id, answer.x_user_id, answer.handle, answer.version) == (bot.id, "4711", "acme", 1)
    page = answer.page.data.decode()
    assert "@acme is connected" in page
    assert f'href="/bots/{bot.id}"' in page
    assert not [word for word in ("<script", "<style", "canary") if word in page]
    ((granted, secret),) = door.endpoint.codes
    assert (granted.redirect_uri, secret) == (asked["redirect_uri"], Secret("canary-client-secret"))
    found = await door.bots.get(bot.id)
    assert (found.state, found.x_user_id) == (BotState.ACTIVE, "4711")
    assert found.credentials is not None
    assert (found.credentials.kind, found.credentials.verified) == ("OAUTH2", True)
    assert found.credentials.expire_time is not None
    assert set(found.credentials.scopes) == set(asked["scope"].split())
    (stored,) = door.secrets.versions[bot.id]
    assert stored.fields["client_id"] == Secret(CLIENT)
    assert "client_secret" not in stored.fields
    assert door.stopped == [bot.id]


async def test_a_state_is_good_once_for_ten_minutes_and_until_the_next_start(door: Door) -> None:
    """A link that was seen, kept or forged must be worth nothing."""
    bot = await door.bot()
    first = await door.start(bot)
    second = await door.start(bot)
    for state in (first["state"], "x" * 43, second["state"].upper()):
        assert (await refusal(door.complete(state=state, code="c"))).reason == "CONNECT_STATE_INVALID"
    await door.complete(state=second["state"], code="c")
    assert (await refusal(door.complete(state=second["state"], code="c"))).reason == "CONNECT_STATE_INVALID"
    third = await door.start(bot)
    await door.clock.advance(timedelta(minutes=10))
    assert (await refusal(door.complete(state=third["state"], code="c"))).reason == "CONNECT_STATE_INVALID"
    assert len(door.endpoint.codes) == 1


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"error": "access_denied", "error_description": "<script>alert(1)</script>"}, "access_denied"),
        ({"code": "c", "iss": "https://evil.example"}, None),
        ({"code": "c", "iss": "https://x.example.evil.example"}, None),
        ({}, None),
    ],
)
async def test_what_x_or_a_stranger_refuses_stores_nothing_and_uses_the_state_up(
    door: Door, parameters: dict[str, str], told: str | None
) -> None:
    """X's own words are told; an answer of another issuer is not looked into."""
    bot = await door.bot()
    state = (await door.start(bot))["state"]
    error = await refusal(door.complete(state=state, **parameters))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "CONNECT_REFUSED")
    assert error.metadata.get("error") == told
    assert (await refusal(door.complete(state=state, code="c"))).reason == "CONNECT_STATE_INVALID"
    assert (door.endpoint.codes, door.secrets.versions) == ([], {})


async def test_nothing_is_stored_unless_x_confirms_that_it_is_this_account_and_may_post(door: Door) -> None:
    """Whoever is signed in to X with another account than they think must not overwrite what works."""
    bot = await door.bot()

    async def failing(reason: str) -> MeshError:
        state = (await door.start(bot))["state"]
        error = await refusal(door.complete(state=state, code="canary-code"))
        assert (error.reason, door.secrets.versions) == (reason, {})
        return error

    door.endpoint.fail_next(
        FailedPrecondition("X_CREDENTIALS_REJECTED", "no", metadata={"errorDescription": "code was invalid"})
    )
    assert (await failing("CONNECT_REFUSED")).metadata["errorDescription"] == "code was invalid"
    door.endpoint.fail_next(OutcomeUnknown("X_OUTCOME_UNKNOWN", "lost"))
    await failing("X_UNAVAILABLE")
    door.x.fail_next(Unavailable("X_UNAVAILABLE", "away"))
    await failing("X_UNAVAILABLE")
    door.x.fail_next(FailedPrecondition("X_CREDENTIALS_REJECTED", "refused"))
    await failing("CONNECT_REFUSED")
    door.endpoint.scope = "tweet.read users.read offline.access"
    assert "tweet.write" in (await failing("CONNECT_REFUSED")).message
    door.endpoint.scope = ""
    await door.bots.change(bot.id, lambda old: _with_account(old, "9"), NOW)
    await failing("X_ACCOUNT_MISMATCH")
    await door.bot("other", x_user_id="4711")
    await door.bots.change(bot.id, lambda old: _with_account(old, ""), NOW)
    assert (await failing("X_ACCOUNT_TAKEN")).code == "ALREADY_EXISTS"


async def test_connecting_needs_an_app_with_a_client_and_the_scopes_of_a_bot(
    door: Door, database: Database
) -> None:
    """What is missing is said before anybody is sent to X."""
    empty = new_id()
    door.apps.clients[empty] = ""
    await PostgresApps(database, door.clock).create(App(empty, "Empty", NOW, NOW), None)
    for handle, app_id in (("without", ""), ("with", empty)):
        without = await door.bot(handle, app_id=app_id)
        assert (await refusal(door.start(without))).reason == "APP_CREDENTIALS_MISSING"
    error = await refusal(door.start(await door.bot(), scopes=["tweet.read", "users.read"]))
    assert (error.reason, error.violations[0].field) == ("INVALID_FIELD", "scopes")
    archived = await door.bot("gone", state=BotState.ARCHIVED)
    assert (await refusal(door.start(archived))).reason == "BOT_ARCHIVED"


async def test_a_bot_that_was_archived_meanwhile_is_not_connected(door: Door) -> None:
    """Its flow ended with it."""
    bot = await door.bot()
    state = (await door.start(bot))["state"]
    await door.call("ArchiveBot", pb.ArchiveBotRequest(bot_id=bot.id))
    assert (await refusal(door.complete(state=state, code="c"))).reason == "CONNECT_STATE_INVALID"


async def test_tokens_obtained_elsewhere_are_tried_and_stored_with_what_is_known_of_them(door: Door) -> None:
    """As those of OAuth 1.0a are; the client of the bot's app is noted, since they cannot be refreshed without."""
    bot = await door.bot()
    answer = await door.set(bot, oauth2=credentials_pb2.OAuth2Credentials(**PAIR, scopes=["tweet.write"]))
    assert (answer.verified, answer.state) == (True, bot_pb2.BOT_STATE_ACTIVE)
    (stored,) = door.secrets.versions[bot.id]
    assert stored.fields["client_id"] == Secret(CLIENT)
    assert stored.fields["expires_at"] == Secret(
        (NOW + timedelta(hours=2)).isoformat().replace("+00:00", "Z")
    )
    shown = (await door.call("GetBot", pb.GetBotRequest(bot_id=bot.id))).bot.credentials
    assert shown.kind == credentials_pb2.CREDENTIALS_KIND_OAUTH2
    assert (list(shown.scopes), shown.expire_time.ToDatetime()) == (
        ["tweet.write"],
        (NOW + timedelta(hours=2)).replace(tzinfo=None),
    )
    door.x.fail_next(Unavailable("X_UNAVAILABLE", "away"))
    unverified = await door.set(bot, oauth2=credentials_pb2.OAuth2Credentials(**PAIR))
    assert (unverified.verified, unverified.version) == (False, 2)


async def test_every_question_whose_an_account_is_is_counted_for_its_bot(door: Door) -> None:
    """X charges for the user it tells of; what it did not answer costs nothing."""
    bot = await door.bot()
    await door.complete(state=(await door.start(bot))["state"], code="canary-code")
    await door.set(bot, oauth2=credentials_pb2.OAuth2Credentials(**PAIR))
    door.x.fail_next(Unavailable("X_UNAVAILABLE", "away"))
    await door.set(bot, oauth2=credentials_pb2.OAuth2Credentials(**PAIR))
    await door.call("VerifyCredentials", pb.VerifyCredentialsRequest(bot_id=bot.id))
    assert door.calls == [(bot.id, WHO_AM_I, 1)] * 3


async def test_tokens_with_which_a_bot_could_not_post_are_refused_with_the_field(door: Door) -> None:
    """Better now than at the first post."""
    bot, alone = await door.bot(), await door.bot("alone", app_id="")
    tokens = credentials_pb2.OAuth2Credentials
    ended = tokens(access_token="canary-access")
    ended.expire_time.FromDatetime(NOW)
    cases = [
        (bot, tokens(**PAIR, scopes=["tweet.read", "users.read"]), "oauth2.scopes"),
        (alone, tokens(**PAIR), "oauth2.client_id"),
        (bot, ended, "oauth2.expire_time"),
    ]
    for one, given, name in cases:
        error = await refusal(door.set(one, oauth2=given))
        assert (error.reason, error.violations[0].field) == ("INVALID_FIELD", name)
    assert door.secrets.versions == {}
    assert (await door.set(alone, oauth2=tokens(**PAIR, client_id="its own"))).verified


async def test_two_bots_never_share_an_account(door: Door) -> None:
    """They would share its limits and not know of each other's posts; an archived bot gives its account up."""
    first, second = await door.bot("first"), await door.bot("second")
    await door.set(first)
    error = await refusal(door.set(second))
    assert (error.code, error.reason, error.metadata["botId"]) == (
        "ALREADY_EXISTS",
        "X_ACCOUNT_TAKEN",
        first.id,
    )
    assert second.id not in door.secrets.versions
    await door.set(second, oauth1=OAUTH1, skip_verification=True)
    found = await door.call("VerifyCredentials", pb.VerifyCredentialsRequest(bot_id=second.id))
    assert (found.verified, found.credentials.failure_reason) == (False, "X_ACCOUNT_TAKEN")
    await door.call("ArchiveBot", pb.ArchiveBotRequest(bot_id=first.id))
    assert (await door.call("VerifyCredentials", pb.VerifyCredentialsRequest(bot_id=second.id))).verified


async def test_a_deleted_bot_is_gone_with_everything_and_its_secrets_are_on_the_list(
    door: Door, database: Database
) -> None:
    """There is no way back, and what is still to be done outlives the bot."""
    bot = await door.bot()
    await door.set(bot)
    wrong = pb.DeleteBotRequest(bot_id=bot.id, etag="v999")
    assert (await refusal(door.call("DeleteBot", wrong))).code in ("ABORTED", "INVALID_ARGUMENT")
    await door.call("DeleteBot", pb.DeleteBotRequest(bot_id=bot.id))
    gone = await refusal(door.call("DeleteBot", pb.DeleteBotRequest(bot_id=bot.id)))
    assert gone.reason == "BOT_NOT_FOUND"
    async with database.read() as connection:
        rows = (await connection.execute(select(secret_destructions.c.bot_id))).scalars().all()
    assert rows == [bot.id]
    door.x.account = XAccount("4711", "acme")
    assert (await door.set(await door.bot())).verified


def _with_account(bot: Bot, x_user_id: str) -> Bot:
    return replace(bot, x_user_id=x_user_id)
