"""Publishing as it runs in production, with hands on it: real PostgreSQL, NATS and sandbox, short times, any number of replicas."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from sqlalchemy import select

from mesh.clock import Clock, SystemClock
from mesh.database import Database
from mesh.ids import new_id
from mesh.messaging import Messaging
from mesh.tasks import TaskSet
from services.bot_manager.domain import rules
from services.bot_manager.domain.model import Bot, BotState, EntryKind, Part, Post, PostState
from services.bot_manager.domain.reconciling import SEND_AGAIN_POLICY
from services.bot_manager.domain.retry import Rules
from services.bot_manager.publishing.claimer import Claimer
from services.bot_manager.publishing.gate import Gate
from services.bot_manager.publishing.leases import Leases
from services.bot_manager.publishing.ledger import WorkerLedger
from services.bot_manager.publishing.looking import Looker
from services.bot_manager.publishing.reaper import Reaper
from services.bot_manager.publishing.reconciler import Reconciler
from services.bot_manager.publishing.sender import Sender
from services.bot_manager.publishing.settings import PublishSettings
from services.bot_manager.publishing.worker import Worker
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.ports import PostLedger
from services.bot_manager.store.posts import PostgresPosts
from services.bot_manager.store.publishing import PostgresPublishingQueries
from services.bot_manager.store.reconciling import PostgresReconciling, ReconcilingStore
from services.bot_manager.store.tables import attempts
from services.bot_manager.x.port import XPort
from services.bot_manager.x.tweepy_port import TweepyPort
from tests.unit.services.bot_manager.publishing.secrets import FakeSecrets

CLOCK = SystemClock()
WAIT = 15.0
SECOND = timedelta(seconds=1)
SETTINGS = PublishSettings(
    rules=Rules(
        max_attempts=3,
        first_retry=SECOND / 5,
        longest_retry=SECOND,
        settle=SECOND,
        credits_pause=timedelta(hours=1),
    ),
    request_timeout=SECOND * 0.8,
    lease=SECOND * 3,
    tick=SECOND / 10,
    overdue_alarm=timedelta(minutes=1),
    max_claimed=1000,
)


PATIENT = replace(SETTINGS, request_timeout=SECOND * 20, lease=SECOND * 60)
"""For many posts at once on a busy machine."""


HASTY = replace(SETTINGS, rules=replace(SETTINGS.rules, settle=SECOND / 10), settle_window=SECOND * 0.8)
"""Unknown outcomes are settled within a second."""


@dataclass
class Rig:
    """What a test holds: the record, the sandbox, the secrets, and how to start replicas."""

    database: Database
    messaging: Messaging
    url: str
    session: aiohttp.ClientSession
    settings: PublishSettings = SETTINGS
    secrets: FakeSecrets = field(default_factory=FakeSecrets)

    def __post_init__(self) -> None:
        self.ledger = PostgresLedger(self.database, "test-1")
        self.bots = PostgresBots(self.database, "test-1")
        self.posts = PostgresPosts(self.database, "test-1")
        self.queries = PostgresPublishingQueries(self.database)
        self._ports: list[TweepyPort] = []

    def port(self, url: str = "") -> TweepyPort:
        """A way to the sandbox, or to another address; closed with the rig."""
        made = TweepyPort(url or self.url, request_timeout=lambda: self.settings.request_timeout, clock=CLOCK)
        self._ports.append(made)
        return made

    async def close(self) -> None:
        """Close the ports."""
        for port in self._ports:
            await port.close()

    def sender(self, tasks: TaskSet, x: XPort, name: str = "worker-1", **parts: Any) -> Sender:
        """A sender of its own; `parts` replace what it is made of."""
        clock = parts.get("clock", CLOCK)
        ledger = WorkerLedger(parts.pop("ledger", self.ledger), name, lambda: self.settings.lease, clock)
        made = Sender(
            ledger,
            self.queries,
            self.bots,
            x,
            Leases(self.secrets, tasks, CLOCK),
            Gate(),
            lambda: self.settings,
            CLOCK,
        )
        return replace(made, **parts)

    def reconciler(
        self,
        x: XPort,
        leases: Leases,
        name: str = "worker-1",
        *,
        ledger: PostLedger | None = None,
        store: ReconcilingStore | None = None,
        clock: Clock = CLOCK,
        wake: Callable[[], None] = lambda: None,
    ) -> Reconciler:
        """A reconciler of its own."""
        return Reconciler(
            ledger or self.ledger,
            store or PostgresReconciling(self.database),
            Looker(x, leases, lambda: self.settings, clock),
            name,
            lambda: self.settings,
            clock,
            wake,
        )

    @asynccontextmanager
    async def replica(
        self,
        name: str = "worker-1",
        *,
        url: str = "",
        reap: bool = True,
        reconcile: bool = False,
        **parts: Any,
    ) -> AsyncIterator[Sender]:
        """Claimer, reaper, worker and, if wanted, reconciler, as one process has them."""
        x = parts.pop("x", None) or self.port(url)
        clock = parts.get("clock", CLOCK)
        async with TaskSet() as tasks:
            sender = self.sender(tasks, x, name, **parts)
            claimer = Claimer(
                self.ledger,
                self.queries,
                name,
                lambda: self.settings,
                lambda: self.messaging.connected,
                clock,
            )
            tasks.spawn_loop(claimer.run, name="claimer")
            if reap:
                tasks.spawn_loop(Reaper(self.ledger, lambda: None, clock).run, name="reaper")
            if reconcile:
                reconciler = self.reconciler(x, sender.leases, name, clock=clock, wake=claimer.wake)
                tasks.spawn_loop(reconciler.run, name="reconciler")
            tasks.spawn_loop(lambda: Worker(self.messaging, sender, 200).run(), name="worker")
            yield sender

    async def bot(self, handle: str = "acme", *, again: bool = False) -> Bot:
        """An active bot with an account on the sandbox and stored credentials. `again`: what X does not show is sent again."""
        keys = await self.call("POST", "/sandbox/accounts", {"handle": handle})
        now = CLOCK.now()
        policy = {"unknown_outcome": SEND_AGAIN_POLICY} if again else None
        user_id = keys.pop("user_id")
        bot = Bot(new_id(), handle, BotState.ACTIVE, now, now, x_user_id=user_id, policy=policy)
        self.secrets.put(bot.id, keys)
        return await self.bots.create(bot, None)

    async def post(
        self,
        bot: Bot,
        *texts: str,
        due: datetime | None = None,
        lateness: timedelta = timedelta(hours=1),
        **content: object,
    ) -> Post:
        """A post that is due now, or at `due`; it is MISSED `lateness` later."""
        now = CLOCK.now()
        parts = tuple(Part(index, text) for index, text in enumerate(texts or ("hello",)))
        draft = Post(new_id(), bot.id, PostState.DRAFT, parts, now, now, content=content)
        change = rules.create(draft, due or now, lateness)
        return await self.posts.create(change.post, change.entries, None)

    async def until(self, post: Post, *states: PostState) -> Post:
        """The post once it is in one of the states."""

        async def there() -> Post | None:
            found = await self.posts.get(post.id)
            return found if found.state in states else None

        return await eventually(there)

    async def until_attempted(self, post: Post, *outcomes: str) -> None:
        """Wait until the post's attempts begin with these outcomes."""

        async def there() -> bool:
            return tuple(await self.outcomes(post))[: len(outcomes)] == outcomes

        await eventually(there)

    async def until_told(self, post: Post, kind: EntryKind) -> None:
        """Wait until the post's story has an entry of this kind."""

        async def there() -> bool:
            return kind in await self.kinds(post)

        await eventually(there)

    async def until_bot(self, bot: Bot, state: BotState) -> None:
        """Wait until the bot is in this state."""

        async def there() -> bool:
            return (await self.bots.get(bot.id)).state is state

        await eventually(there)

    async def kinds(self, post: Post) -> list[EntryKind]:
        """The kinds of the entries of its story."""
        return [entry.kind for entry in await self.posts.story(post.id, 0, 1000)]

    async def outcomes(self, post: Post) -> list[str | None]:
        """Outcomes of its attempts, in order."""
        query = select(attempts.c.outcome).where(attempts.c.post_id == post.id).order_by(attempts.c.number)
        async with self.database.read() as connection:
            return list((await connection.execute(query)).scalars())

    async def shown(self) -> list[dict[str, Any]]:
        """What the sandbox displays."""
        return (await self.call("GET", "/sandbox/posts"))["posts"]

    async def fault(self, kind: str, **more: object) -> None:
        """Make X misbehave."""
        await self.call("POST", "/sandbox/faults", {"kind": kind, **more})

    async def heal(self) -> None:
        """X behaves again."""
        await self.call("DELETE", "/sandbox/faults")

    async def call(self, method: str, path: str, body: object = None) -> Any:
        more: dict[str, Any] = {} if body is None else {"json": body}
        async with self.session.request(method, self.url + path, **more) as response:
            assert response.ok, await response.text()
            return await response.json() if response.status != 204 else None


async def eventually(look: Callable[[], Awaitable[Any]], seconds: float = WAIT) -> Any:
    """The first true result of `look`, which is asked again and again."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):
            await asyncio.sleep(0.03)
        return found


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)
