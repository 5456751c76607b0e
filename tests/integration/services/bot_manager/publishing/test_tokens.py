"""Posts of bots with OAuth 2.0 while their tokens end, are refused, get lost or die: real sandbox, real secure_bot_data, real database."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from cli.embedded import EmbeddedMesh
from mesh.errors import Aborted, FailedPrecondition, MeshError
from mesh.ids import new_id
from mesh.secret import Secret
from mesh.status import from_rpc_error
from mesh.tasks import TaskSet
from services.bot_manager.connect.addresses import Addresses
from services.bot_manager.connect.flow import ConnectFlow, Redirect
from services.bot_manager.connect.sealing import KIND
from services.bot_manager.domain.credentials import Credentials
from services.bot_manager.domain.model import OAUTH2, Bot, BotState, CredentialsStatus, PostState
from services.bot_manager.domain.money import App
from services.bot_manager.publishing.destroying import SecretDestroyer
from services.bot_manager.publishing.leases import Leases
from services.bot_manager.publishing.sender import Sender
from services.bot_manager.sealing import MeshSealer
from services.bot_manager.secrets import MeshSecretKeeper
from services.bot_manager.store.apps import PostgresApps
from services.bot_manager.store.connects import PostgresOAuthConnects
from services.bot_manager.store.secret_destructions import PostgresSecretDestructions
from services.bot_manager.tokens.endpoint import HttpTokenEndpoint
from services.bot_manager.tokens.fresh import ASK_A_PERSON, FreshTokens
from services.bot_manager.tokens.keeping import SECRET_NAME, MeshPairKeeper
from services.bot_manager.tokens.port import TokenPair
from services.bot_manager.tokens.refresher import TokenRefresher
from tests.fakes.x_accounts import Authorized, authorize, redirect_of
from tests.integration.services.bot_manager.publishing.rig import CLOCK, Rig, eventually
from tests.integration.services.secure_bot_data.test_process import channel_as
from vivesphere.secure_bot_data.v1 import bot_secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub

S = PostState
MANY = 20
SHORT_CLAIM = timedelta(seconds=5)


@dataclass
class NoSecrets:
    """Every client here is known with its secret in the bot's own fields."""

    async def secret_of(self, client_id: str) -> Secret | None:
        """See ClientKeys."""
        return None


@dataclass
class Account:
    """A bot that was connected, and the app it was connected through."""

    bot: Bot
    app: Authorized


@dataclass
class Tokens:
    """The rig with what OAuth 2.0 needs beside it."""

    rig: Rig
    stub: BotSecretServiceStub
    endpoint: HttpTokenEndpoint
    before: timedelta = timedelta(0)

    async def connect(self, handle: str = "acme", *, left: timedelta | None = None) -> Account:
        """An active bot with tokens at secure_bot_data; `left` is how long they are said to last."""
        app = await authorize(self.rig.session, self.rig.url, handle=handle)
        now = CLOCK.now()
        bot = Bot(new_id(), handle, BotState.ACTIVE, now, now, x_user_id=app.user_id)
        pair = await self.endpoint.exchange_code(await app.code(), app.secret)
        if left is not None:
            pair = replace(pair, expire_time=now + left)
        version = await self.store(bot, app, pair)
        status = CredentialsStatus(OAUTH2, version, verified=True, expire_time=pair.expire_time)
        return Account(await self.rig.bots.create(replace(bot, credentials=status), None), app)

    async def store(self, bot: Bot, app: Authorized, pair: TokenPair) -> int:
        """Store a pair as bot_manager does."""
        assert app.secret is not None
        fields = pair.over({"client_id": Secret(app.client_id), "client_secret": app.secret})
        request = pb2.StoreBotSecretRequest(
            bot_id=bot.id,
            name=SECRET_NAME,
            kind=bot_secret_pb2.SECRET_KIND_X_OAUTH2,
            fields={name: value.reveal() for name, value in fields.items()},
        )
        return (await self.stub.StoreBotSecret(request, timeout=10)).metadata.version

    async def stored(self, bot: Bot) -> pb2.LeaseBotSecretResponse:
        """What secure_bot_data has. Raises MeshError."""
        request = pb2.LeaseBotSecretRequest(bot_id=bot.id, name=SECRET_NAME, reason="look")
        try:
            return await self.stub.LeaseBotSecret(request, timeout=10)
        except Exception as error:
            raise from_rpc_error(error) from None  # type: ignore[arg-type]

    def leases(self, tasks: TaskSet) -> Leases:
        """Leases of one process."""
        keeper = MeshPairKeeper(self.stub, CLOCK, SHORT_CLAIM)
        refresher = TokenRefresher(keeper, self.endpoint, tasks, CLOCK, exchange_timeout=timedelta(seconds=1))
        tokens = FreshTokens(self.rig.bots, refresher, lambda: self.before, CLOCK)
        return Leases(self.stub, tasks, CLOCK, tokens)

    @asynccontextmanager
    async def replica(self, name: str = "worker-1") -> AsyncIterator[Sender]:
        """A replica that publishes for bots with tokens."""
        async with TaskSet() as tasks, self.rig.replica(name, leases=self.leases(tasks)) as sender:
            yield sender

    async def expire(self, account: Account) -> None:
        """X ends the account's access tokens before their time."""
        await self.rig.call("POST", "/sandbox/oauth2/expire", {"user_id": account.app.user_id})

    async def fault(self, kind: str) -> None:
        """The next request for tokens goes wrong."""
        await self.rig.fault(kind, endpoint="token")


@pytest.fixture
async def tokens(rig: Rig, engines: EmbeddedMesh, secure_bot_data: None) -> AsyncIterator[Tokens]:
    async with AsyncExitStack() as stack:
        stub = BotSecretServiceStub(await stack.enter_async_context(channel_as(engines, "bot_manager")))
        yield Tokens(rig, stub, HttpTokenEndpoint(rig.port().http, NoSecrets(), CLOCK))


async def test_a_token_near_its_end_is_replaced_before_it_is_used(tokens: Tokens) -> None:
    """No post has to fail for it; and not before it is due, since each refresh is a risk."""
    tokens.before = timedelta(minutes=5)
    early = await tokens.connect("early", left=timedelta(minutes=6))
    due = await tokens.connect("due", left=timedelta(minutes=4))
    async with tokens.replica():
        for account, version in ((early, 1), (due, 2)):
            post = await tokens.rig.until(await tokens.rig.post(account.bot), S.PUBLISHED)
            assert await tokens.rig.outcomes(post) == ["ACCEPTED"]
            assert (await tokens.stored(account.bot)).version == version
    shown = (await tokens.rig.bots.get(due.bot.id)).credentials
    assert shown is not None
    assert (shown.version, shown.verified) == (2, True)
    assert shown.expire_time is not None
    assert shown.expire_time - CLOCK.now() > timedelta(hours=1)


async def test_tokens_that_x_ends_while_posts_flow_are_replaced_once_and_no_post_is_lost_or_doubled(
    tokens: Tokens,
) -> None:
    """A refusal proves that X did not take the post; it goes again with the new token, whichever worker holds it."""
    account, rig = await tokens.connect(), tokens.rig
    async with tokens.replica() as one, tokens.replica("worker-2") as two:
        for sender in (one, two):
            await sender.leases.get(account.bot.id, "before X ends the token", timedelta(seconds=1))
        await tokens.expire(account)
        posts = [await rig.post(account.bot, f"post {n}") for n in range(MANY)]
        for post in posts:
            await rig.until(post, S.PUBLISHED)
    assert sorted(shown["text"] for shown in await rig.shown()) == sorted(f"post {n}" for n in range(MANY))
    assert (await tokens.stored(account.bot)).version == 2
    outcomes = [await rig.outcomes(post) for post in posts]
    assert any(one[0] == "DEFERRED" for one in outcomes)
    # Each of the two workers held the old token, and may have shown it once.
    assert all(one[-1] == "ACCEPTED" and one[:-1] in ([], ["DEFERRED"], ["DEFERRED"] * 2) for one in outcomes)
    assert (await rig.bots.get(account.bot.id)).state is BotState.ACTIVE


async def test_tokens_that_x_refuses_for_good_stop_the_bot_and_say_what_to_do(tokens: Tokens) -> None:
    """The calendar waits for a person, and goes on once the account is connected anew."""
    account, rig = await tokens.connect(), tokens.rig
    stored = await tokens.stored(account.bot)
    await tokens.endpoint.revoke({name: Secret(value) for name, value in stored.fields.items()})
    async with tokens.replica() as sender:
        post = await rig.post(account.bot)
        await rig.until_bot(account.bot, BotState.REAUTH_REQUIRED)
        waiting = await rig.until(post, S.SCHEDULED)
        stopped = await rig.bots.get(account.bot.id)
        assert (stopped.state_detail.reason, stopped.state_detail.message) == (
            "X_CREDENTIALS_REJECTED",
            ASK_A_PERSON,
        )
        assert waiting.failure is None
        pair = await tokens.endpoint.exchange_code(await account.app.code(), account.app.secret)
        version = await tokens.store(account.bot, account.app, pair)
        sender.leases.forget(account.bot.id)
        again = CredentialsStatus(OAUTH2, version, verified=True)
        await rig.bots.change(
            account.bot.id, lambda old: replace(old, state=BotState.ACTIVE, credentials=again), CLOCK.now()
        )
        await rig.until(post, S.PUBLISHED)
    assert len(await rig.shown()) == 1


@pytest.mark.parametrize(("kind", "survives"), [("error_500_before", True), ("error_500_after", False)])
async def test_an_answer_of_the_token_endpoint_that_is_lost_is_settled_by_one_more_try(
    tokens: Tokens, kind: str, survives: bool
) -> None:
    """If X has not rotated the token, nothing is lost; if it has, a person is asked, and no post goes astray."""
    account, rig = await tokens.connect(left=timedelta(0)), tokens.rig
    await tokens.fault(kind)
    async with tokens.replica():
        post = await rig.post(account.bot)
        if survives:
            await rig.until(post, S.PUBLISHED)
        else:
            await rig.until_bot(account.bot, BotState.REAUTH_REQUIRED)
            await rig.until(post, S.SCHEDULED)
    assert len(await rig.shown()) == survives


async def test_an_access_token_that_has_ended_with_nothing_to_refresh_it_stops_the_bot(
    tokens: Tokens,
) -> None:
    """X is not even asked."""
    account, rig = await tokens.connect(), tokens.rig
    code = await account.app.code("tweet.read tweet.write users.read")
    pair = await tokens.endpoint.exchange_code(code, account.app.secret)
    assert pair.refresh_token is None
    await tokens.store(account.bot, account.app, replace(pair, expire_time=CLOCK.now()))
    async with tokens.replica():
        post = await rig.post(account.bot)
        await rig.until_bot(account.bot, BotState.REAUTH_REQUIRED)
        await rig.until(post, S.SCHEDULED)
    assert await rig.outcomes(post) == []


class AwayOnce:
    """secure_bot_data that lends nothing the first time, since the bot's leases are being ended, and then does not destroy the first time."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self.refused = self.revoked = 0

    async def LeaseBotSecret(self, request: Any, **call: Any) -> Any:
        """Refuse once."""
        if not self.revoked:
            self.revoked += 1
            raise Aborted("LEASES_REVOKED", "ended")
        return await self._stub.LeaseBotSecret(request, **call)

    async def DestroyBotSecrets(self, request: Any, **call: Any) -> Any:
        """Refuse once."""
        if not self.refused:
            self.refused += 1
            raise FailedPrecondition("INVALID_STATE", "not now")
        return await self._stub.DestroyBotSecrets(request, **call)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)


async def test_the_secrets_of_an_archived_bot_are_destroyed_and_its_tokens_given_back(
    tokens: Tokens,
) -> None:
    """Whatever dies in between: what is to be done is in the database until it is done."""
    account, rig = await tokens.connect(), tokens.rig
    fields = (await tokens.stored(account.bot)).fields
    await rig.bots.change(
        account.bot.id, lambda bot: replace(bot, state=BotState.ARCHIVED), CLOCK.now(), settled=True
    )
    destructions, stub = PostgresSecretDestructions(rig.database), AwayOnce(tokens.stub)
    for _ in range(2):
        with pytest.raises(MeshError):
            await SecretDestroyer(destructions, stub, tokens.endpoint, CLOCK).do_due()
    assert [one.again for one in await destructions.due(10)] == [False]
    await SecretDestroyer(destructions, stub, tokens.endpoint, CLOCK).do_due()
    with pytest.raises(MeshError) as gone:
        await tokens.stored(account.bot)
    assert gone.value.reason == "SECRET_DESTROYED"
    with pytest.raises(FailedPrecondition) as refused:
        await tokens.endpoint.exchange({name: Secret(value) for name, value in fields.items()})
    assert refused.value.reason == "X_CREDENTIALS_REJECTED"
    assert await destructions.due(10) == []


async def test_a_destroyer_that_runs_is_woken_and_survives_what_is_away(tokens: Tokens) -> None:
    """Archiving does not wait for the vault, and nobody has to come back for it."""
    account, rig = await tokens.connect(), tokens.rig
    destructions = PostgresSecretDestructions(rig.database)
    destroyer = SecretDestroyer(destructions, AwayOnce(tokens.stub), tokens.endpoint, CLOCK)
    async with TaskSet() as tasks:
        tasks.spawn_loop(destroyer.run, name="destroyer")
        await rig.bots.change(
            account.bot.id, lambda bot: replace(bot, state=BotState.ARCHIVED), CLOCK.now(), settled=True
        )
        destroyer.wake()

        async def destroyed() -> bool:
            try:
                await tokens.stored(account.bot)
            except MeshError as error:
                return error.reason == "SECRET_DESTROYED"
            return False

        await eventually(destroyed)


@dataclass
class OneApp:
    """The app of every bot, with its secret. Implements AppClients and ClientKeys."""

    app: Authorized

    async def client_of(self, app_id: str) -> str:
        """See AppClients."""
        return self.app.client_id

    async def app_of(self, client_id: str) -> str:
        """See AppClients."""
        return "the app"

    async def secret_of(self, client_id: str) -> Secret | None:
        """See ClientKeys."""
        return self.app.secret


@dataclass
class Lent:
    """As much of a Publisher as keeping secrets needs."""

    leases: Leases

    def forget(self, bot_id: str) -> None:
        """See Publisher."""
        self.leases.forget(bot_id)


async def test_an_account_that_is_connected_at_x_publishes_at_once(tokens: Tokens) -> None:
    """The whole way: start, X's page, callback, tokens stored before anybody uses them, a post."""
    rig, now = tokens.rig, CLOCK.now()
    app = await authorize(rig.session, rig.url, callback="https://bots.example/oauth/callback")
    await rig.call("POST", "/sandbox/consent", {"user_id": app.user_id})
    apps, app_id = OneApp(app), new_id()
    await PostgresApps(rig.database, CLOCK).create(App(app_id, "Fleet", now, now), None)
    bot = await rig.bots.create(Bot(new_id(), "acme", BotState.DRAFT, now, now, app_id=app_id), None)
    endpoint = HttpTokenEndpoint(rig.port().http, apps, CLOCK)
    async with tokens.replica() as sender:
        keeper = MeshSecretKeeper(tokens.stub, Lent(sender.leases))  # type: ignore[arg-type]  # see there
        flow = ConnectFlow(
            rig.bots,
            PostgresOAuthConnects(rig.database),
            apps,
            apps,
            endpoint,
            Credentials(rig.bots, keeper, rig.port(), apps, CLOCK),
            MeshSealer(tokens.stub, KIND),
            Addresses(f"{rig.url}/i/oauth2/authorize", "https://bots.example/"),
            CLOCK,
            new_id,
        )
        started = await flow.start(bot.id, (), "", "ana")
        back = await redirect_of(rig.session, started.page.reveal())
        connect = await flow.take(back["state"])
        redirect = Redirect(Secret(back["code"]), issuer=back["iss"])
        connected = await flow.complete(connect, redirect)
        assert connected.lasting
        assert connected.verification.bot.state is BotState.ACTIVE
        await rig.until(await rig.post(bot), S.PUBLISHED)
        with pytest.raises(FailedPrecondition) as replayed:
            await flow.complete(connect, redirect)
        assert replayed.value.reason == "CONNECT_REFUSED"
    fields = (await tokens.stored(bot)).fields
    assert set(fields) == {"access_token", "refresh_token", "client_id", "scope", "expires_at"}
