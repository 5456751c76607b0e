"""A receiver that checks signatures by itself, and replicas that call it, on a clock that is turned by hand."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mesh.database import Database
from mesh.errors import Unavailable
from mesh.ids import new_id
from mesh.tasks import TaskSet
from services.bot_manager.domain.happenings import app_changed
from services.bot_manager.domain.webhooks import Delivery, DeliveryState, Webhook
from services.bot_manager.events.announcing import announce
from services.bot_manager.events.reading import StoredEvents
from services.bot_manager.events.ticks import Ticks
from services.bot_manager.outbound import open_session
from services.bot_manager.store.deliveries import PostgresDeliveries
from services.bot_manager.store.webhooks import PostgresWebhooks
from services.bot_manager.webhooks.calling import Caller
from services.bot_manager.webhooks.cases import WebhookDraft, Webhooks
from services.bot_manager.webhooks.making import Maker
from services.bot_manager.webhooks.sealing import Sealer
from services.bot_manager.webhooks.sending import Sender
from tests.fakes.clock import ManualClock
from tests.integration.services.bot_manager.conftest import NOW
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb

PATIENCE_SECONDS = 20


@dataclass
class Receiver:
    """What a customer runs. `answers` are the next statuses; then always 200. With `hold` it answers when that is set, at once to a URL with
    a query."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    hold: asyncio.Event | None = None

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.calls.append(({name.lower(): value for name, value in request.headers.items()}, body))
        status = self.answers.pop(0) if self.answers else 200
        if self.hold is not None and not request.query_string:
            await self.hold.wait()
        headers = {"Location": "/elsewhere"} if 300 <= status < 400 else {}
        return web.Response(status=status, text="thanks" * 1000, headers=headers)

    @property
    def messages(self) -> list[str]:
        """What was told, call by call."""
        return [json.loads(body)["message"] for _, body in self.calls]


def is_signed(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """As the contract tells receivers to check, without a line of ours."""
    parts = [part.split("=", 1) for part in headers["vivesphere-signature"].split(",")]
    time = next(value for name, value in parts if name == "t")
    expected = hmac.new(secret.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()
    return any(hmac.compare_digest(expected, value) for name, value in parts if name == "v1")


class FakeVault:
    """secure_bot_data's Encrypt and Decrypt; `sealed` makes both fail."""

    def __init__(self) -> None:
        self.sealed = False
        self._kept: dict[str, tuple[str, bytes]] = {}

    async def Encrypt(self, request: Any, **_: Any) -> Any:
        """See the contract."""
        self._check()
        ciphertext = f"sealed:{len(self._kept)}"
        self._kept[ciphertext] = request.context, request.plaintext
        return pb.EncryptResponse(ciphertext=ciphertext)

    async def Decrypt(self, request: Any, **_: Any) -> Any:
        """See the contract."""
        self._check()
        context, plaintext = self._kept[request.ciphertext]
        assert context == request.context
        return pb.DecryptResponse(plaintext=plaintext)

    def _check(self) -> None:
        if self.sealed:
            raise Unavailable("VAULT_SEALED", "the vault is sealed")


@dataclass
class Settings:
    """See WebhookSettings."""

    allow_http: bool = True
    allow_private: bool = True
    disable_after: int = 5 * 24 * 3600
    max_webhooks: int = 3
    timeout: float = 10


@dataclass
class Replica:
    """The parts of one process."""

    sender: Sender
    maker: Maker
    webhooks: Webhooks
    tasks: TaskSet


@dataclass
class Rig:
    """What the tests turn and look at. Replicas are made on demand; the first one serves calls."""

    database: Database
    receiver: Receiver
    stack: AsyncExitStack
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    vault: FakeVault = field(default_factory=FakeVault)
    settings: Settings = field(default_factory=Settings)
    replicas: list[Replica] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.deliveries = PostgresDeliveries(self.database)
        self.store = PostgresWebhooks(self.database)

    async def replica(self) -> Replica:
        """One more process."""
        session = await self.stack.enter_async_context(open_session(lambda: self.settings.allow_private))
        tasks = await self.stack.enter_async_context(TaskSet())
        settings: Any = lambda: self.settings  # noqa: E731 - one word for three arguments
        sealer = Sealer(self.vault, self.clock)
        sender = Sender(
            self.deliveries,
            sealer,
            Caller(session, settings, self.clock),
            settings,
            tasks,
            self.clock,
            chance=lambda: 0.0,
        )
        maker = Maker(
            self.deliveries, Ticks(self.database), StoredEvents(self.database), self.clock, sender.wake
        )
        webhooks = Webhooks(self.store, self.deliveries, sealer, sender, settings, self.clock, new_id)
        await maker.step()
        tasks.spawn(sender.run(), name="sender")
        self.replicas.append(Replica(sender, maker, webhooks, tasks))
        return self.replicas[-1]

    @property
    def webhooks(self) -> Webhooks:
        return self.replicas[0].webhooks

    async def webhook(self, **changes: Any) -> tuple[Webhook, str]:
        """A new one for the receiver, with its secret."""
        draft = replace(WebhookDraft(self.receiver.url), **changes)
        webhook, secret = await self.webhooks.create(draft, "u1", None)
        assert secret is not None
        return webhook, secret.reveal()

    async def happen(self, *messages: str) -> None:
        """Something happens and becomes deliveries."""
        async with self.database.transaction() as connection:
            await announce(connection, NOW, *(app_changed(new_id(), one) for one in messages))
        await self.replicas[0].maker.step()

    async def log(self, webhook: Webhook) -> list[Delivery]:
        """All deliveries, oldest first."""
        return list(await self.webhooks.deliveries(webhook.id, None, "", 200))[::-1]

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for it; senders look again meanwhile."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await condition():
                for one in self.replicas:
                    one.sender.wake()
                await asyncio.sleep(0.01)

    async def settled(self, webhook: Webhook, attempts: int) -> list[Delivery]:
        """The log once all deliveries together were attempted so often, and each attempt was written down."""

        async def holds() -> bool:
            log = await self.log(webhook)
            return sum(len(one.attempts) for one in log) >= attempts and all(
                one.state is not DeliveryState.PENDING or len(one.attempts) == one.attempt_count
                for one in log
            )

        await self.until(holds)
        return await self.log(webhook)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_post("/hook", found.receive)
    app.router.add_post("/elsewhere", found.receive)
    async with TestServer(app, host="127.0.0.1") as server:
        found.url = f"http://127.0.0.1:{server.port}/hook"
        yield found
        if found.hold is not None:
            found.hold.set()


@pytest.fixture
async def rig(database: Database, receiver: Receiver) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        rig = Rig(database, receiver, stack)
        await rig.replica()
        yield rig
