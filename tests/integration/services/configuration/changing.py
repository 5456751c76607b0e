"""Changes on their way, put together without the process: real database and trail, a clock that is turned by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from sqlalchemy import text

from mesh.audit import AuditTrail
from mesh.database import Database
from mesh.errors import Unavailable
from mesh.ids import new_id
from mesh.outbox import PUBLISH_TIMEOUT, Outbox
from services.configuration.domain.change_book import ChangeBook, Terms
from services.configuration.domain.changes import Author
from services.configuration.domain.definition import Definition
from services.configuration.domain.guard import Rate
from services.configuration.domain.rollout import Acknowledgement, Refusal
from services.configuration.domain.rollout_plan import within
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.driver import Driver
from services.configuration.feed import Feed
from services.configuration.store.instance_calls import PostgresInstanceCalls
from services.configuration.store.instances import PostgresInstances
from services.configuration.store.postgres import PostgresStore
from services.configuration.watching import Watching
from tests.fakes.clock import START, ManualClock
from vivesphere.logging.v1 import log_record_pb2

KEY, OTHER, GUARDED, SECRET = (
    "bot_manager.test.key",
    "bot_manager.test.other",
    "bot_manager.test.guarded",
    "bot_manager.test.secret",
)
DEFINITIONS = tuple(
    Definition(
        key,
        {"type": "integer", "maximum": 1000},
        3,
        "A number.",
        "bot_manager",
        approval_required=key in (GUARDED, SECRET),
        sensitive=key == SECRET,
        release="1.0.0",
    )
    for key in (KEY, OTHER, GUARDED, SECRET)
)
ANA = Author("ana", "because")
BAKE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica's parts; any number of them share a database and a clock."""

    database: Database
    clock: ManualClock
    store: PostgresStore
    settings: SettingsBook
    changes: ChangeBook
    driver: Driver
    instances: PostgresInstances
    calls: PostgresInstanceCalls
    watching: Watching
    feed: Feed

    async def after(self, duration: timedelta) -> None:
        """Time passes, and the driver looks."""
        await self.clock.advance(duration)
        await self.driver.tick()

    async def connect(self, *names: str) -> None:
        """Instances of bot_manager watch."""
        now = self.clock.now()
        await self.instances.saw([("bot_manager", name, now) for name in names], now)

    async def refuse(self, name: str, key: str = KEY) -> None:
        """An instance keeps what it had at the newest revision."""
        head = await self.store.head()
        refusal = Refusal(key, "out of range")
        said = Acknowledgement("bot_manager", name, head.revision, head.history_id, (refusal,))
        await self.instances.acknowledge(said, self.clock.now())

    async def report(self, name: str, calls: int, failed: int) -> None:
        """Totals of an instance that has counted since long before."""
        began = START - timedelta(days=1)
        await self.calls.told("bot_manager", name, began, Rate(calls, failed), self.clock.now())

    async def trail(self) -> list[tuple[str, str]]:
        """(action, resource) of what the service put on the trail about changes by itself."""
        async with self.database.read() as connection:
            rows = await connection.execute(text("SELECT payload FROM outbox ORDER BY id"))
            records = [log_record_pb2.LogRecord.FromString(row.payload) for row in rows]
        audits = [record.audit for record in records if record.audit.action.startswith("setting_change.")]
        return [(audit.action, audit.resource) for audit in audits]


def replica(database: Database, clock: ManualClock) -> Replica:
    """One more replica."""
    trail = AuditTrail("configuration", "test", database, Outbox(database, NoPublisher()), clock)
    store, terms = PostgresStore(database, trail), Terms(clock.now, new_id, lambda: timedelta(days=7))
    instances, calls = PostgresInstances(database), PostgresInstanceCalls(database)
    changes = ChangeBook(store, _nobody, terms)
    feed = Feed(store, clock, lambda: timedelta(seconds=1))
    return Replica(
        database=database,
        clock=clock,
        store=store,
        settings=SettingsBook(store, _nobody, terms),
        changes=changes,
        driver=Driver(changes, instances, calls, clock),
        instances=instances,
        calls=calls,
        watching=Watching(store, feed, clock),
        feed=feed,
    )


NAMES = tuple(f"bot_manager-{number}" for number in range(10_000))
"""So many that each place of a roll-out has some."""


def names_at(change_id: str, share_percent: int, *, inside: bool) -> Sequence[str]:
    """Five names of instances within a share, or outside of it."""
    return list(islice((name for name in NAMES if within(change_id, name, share_percent) is inside), 5))


def name_joining(change_id: str, not_yet: int, by_then: int) -> str:
    """The name of an instance that is outside of one share and within a later one."""
    return next(
        name for name in NAMES if within(change_id, name, by_then) and not within(change_id, name, not_yet)
    )


def _nobody(revision: int) -> None:
    """Nobody waits for hints here."""


class NoPublisher:
    """Nothing is published: messages stay in the outbox, where a test can read them."""

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = PUBLISH_TIMEOUT,
    ) -> None:
        raise Unavailable("MESSAGING_UNAVAILABLE", "nothing is published here")
