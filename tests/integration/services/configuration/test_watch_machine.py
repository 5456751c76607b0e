"""Random histories and random watchers against a model, on the real database.

Two replicas of the server share it. Transactions of every kind are made through either: values, compare-and-set, rollbacks, resets,
batches, new laws, roles, bindings. No hint is ever sent, so a replica knows of the other's revisions only once it looks. Watchers begin
anywhere, read as far as they like, are cut between any two messages, and go on at either replica; replicas are killed in between. The model
says what each revision changes; `promises.check` holds what watchers have seen against it, at every step.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from mesh.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound
from mesh.ids import new_id
from services.configuration.convert.watch import from_event
from services.configuration.domain.changes import Author
from services.configuration.domain.definition import Definition
from services.configuration.domain.role import BUILT_IN, Caller, Catalogue, Permission
from services.configuration.domain.role import Role as StoredRole
from services.configuration.domain.role_book import RoleBook
from services.configuration.domain.setting import Wish, etag_of
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.domain.values import Stored
from services.configuration.feed import Feed
from services.configuration.store.postgres import PostgresStore
from services.configuration.watching import Watching
from tests.fakes.clock import ManualClock
from tests.integration.services.configuration.history import empty, open_history
from tests.integration.services.configuration.promises import Changes, Stream, Thing, Truth, check
from vivesphere.configuration.v1 import watch_service_pb2

T = TypeVar("T")
KEYS = ("bot_manager.a", "bot_manager.b", "bot_manager.c")
SECRET = KEYS[2]
ROLES = ("editor", "helper")
PERMISSIONS = ("posts.read", "posts.write", "users.read")
ANA = Author("ana", "because")
ROOT = Caller(new_id(), ("admin",))
DEFAULT, MOST = 3, 1000
values = st.integers(0, 12)
keys, roles, replicas = st.sampled_from(KEYS), st.sampled_from(ROLES), st.integers(0, 1)
Messages = AsyncGenerator[watch_service_pb2.WatchResponse, None]


class Replica:
    """One process of the service, as far as the history goes. Its feed looks only when it is told to."""

    def __init__(self, database: Database) -> None:
        clock, store = (
            ManualClock(),
            PostgresStore(database),
        )  # no time passes, so no bookmark comes by itself
        catalogue = Catalogue([Permission(name, (), False) for name in PERMISSIONS])
        self.settings = SettingsBook(store, lambda revision: None)
        self.roles = RoleBook(store, catalogue, lambda revision: None, new_id)
        self.feed = Feed(store, clock, lambda: timedelta(hours=1))
        self.watching = Watching(store, self.feed, clock)

    async def messages(self, from_revision: int, history_id: str = "") -> Messages:
        """A stream, message by message as it travels."""
        async for event in self.watching.services(from_revision, history_id):
            for message in from_event(event):
                yield message


class Watcher:
    """Somebody who follows, and all that they have seen."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.position = 0
        self.open: Messages | None = None
        self.replica = 0
        self.due: int | None = None
        """How many messages the open stream has ready; None: it begins with the first read."""

    def begin(self, replica: int, messages: Messages, start: int) -> None:
        self.open, self.replica, self.due = messages, replica, None
        self.streams.append(Stream(start))

    async def read(self, count: int) -> None:
        """Take what is ready, at most `count` messages. More would wait for the next revision."""
        assert self.open is not None
        assert self.due is not None
        for _ in range(min(count, self.due)):
            async with asyncio.timeout(30):
                event = await anext(self.open)
            self.due -= 1
            self.streams[-1].events.append(event)
            match event.WhichOneof("event"):
                case "snapshot":
                    self.position = event.snapshot.revision
                case "transaction":
                    self.position = event.transaction.revision

    async def cut(self) -> None:
        """The connection is lost between two messages."""
        if self.open is not None:
            await self.open.aclose()
        self.open, self.due = None, None


class Histories(RuleBasedStateMachine):
    """The model is what each setting, role and binding is, and what every revision made of them."""

    runner: ClassVar[asyncio.Runner]
    database: ClassVar[Database]
    watchers = Bundle("watchers")

    def __init__(self) -> None:
        super().__init__()
        self.run(empty(self.database))
        self.replicas = [Replica(self.database), Replica(self.database)]
        self.known = [0, 0]
        """Newest revision that each replica's feed has seen."""
        self.truth = Truth()
        self.stored: dict[str, int] = {}
        self.changed: dict[str, int] = dict.fromkeys(KEYS, 0)
        self.default, self.most, self.release = DEFAULT, MOST, 1
        self.held: dict[str, tuple[str, ...]] = {}
        self.bindings: dict[str, tuple[str, str, str]] = {}
        self.all: list[Watcher] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def revision(self, changes: Changes) -> None:
        """A revision was made; no change makes none."""
        if changes:
            self.truth.add(changes)

    def effective(self, key: str) -> tuple[float, bool, int]:
        return float(self.stored.get(key, self.default)), key == SECRET, self.changed[key]

    def definitions(self) -> list[Definition]:
        schema = {"type": "integer", "maximum": self.most}
        release = f"1.0.{self.release}"
        return [
            Definition(
                key, schema, self.default, "N.", "bot_manager", sensitive=key == SECRET, release=release
            )
            for key in KEYS
        ]

    @initialize()
    def begin(self) -> None:
        self.run(self.replicas[0].roles.ensure_built_in("1.0.0", ANA))
        self.revision({("role", role.id): role.permissions for role in BUILT_IN})
        self.run(self.replicas[0].settings.register(self.definitions(), ANA))
        self.revision({("setting", key): self.effective(key) for key in KEYS})

    # What changes

    def put(self, key: str, value: int | None) -> Changes:
        """The model after a value was stored or reset."""
        before = self.stored.get(key)
        if before == value:
            return {}
        if value is None:
            self.stored.pop(key)
        else:
            self.stored[key] = value
        self.changed[key] = self.truth.head + 1
        return {("setting", key): self.effective(key)}

    def lawful(self, value: int | None) -> bool:
        return value is None or value <= self.most

    @rule(replica=replicas, key=keys, value=values | st.none())
    def change(self, replica: int, key: str, value: int | None) -> None:
        """Any value; one that breaks the law is refused, unless it is there already."""
        wish = Wish(key, None if value is None else Stored(value))
        if not self.lawful(value) and self.stored.get(key) != value:
            with pytest.raises(InvalidArgument):
                self.run(self.replicas[replica].settings.change(wish, ANA))
            return
        self.run(self.replicas[replica].settings.change(wish, ANA))
        self.revision(self.put(key, value))

    @rule(replica=replicas, key=keys, value=values, back=st.integers(0, 2))
    def compare_and_set(self, replica: int, key: str, value: int, back: int) -> None:
        """With the etag of this or an older revision: only the present one is taken."""
        etag = etag_of(max(0, self.changed[key] - back))
        wish = Wish(key, Stored(value), etag)
        right, same = etag == etag_of(self.changed[key]), self.stored.get(key) == value
        if same or (right and self.lawful(value)):
            self.run(self.replicas[replica].settings.change(wish, ANA))
            self.revision(self.put(key, value))
            return
        with pytest.raises((Aborted, InvalidArgument)):
            self.run(self.replicas[replica].settings.change(wish, ANA))

    @rule(replica=replicas, new=st.dictionaries(keys, values | st.none(), min_size=1))
    def batch(self, replica: int, new: dict[str, int | None]) -> None:
        """All in one revision, or nothing."""
        wishes = [Wish(key, None if value is None else Stored(value)) for key, value in new.items()]
        if any(not self.lawful(value) and self.stored.get(key) != value for key, value in new.items()):
            with pytest.raises(InvalidArgument):
                self.run(self.replicas[replica].settings.change_all(wishes, ANA))
            return
        self.run(self.replicas[replica].settings.change_all(wishes, ANA))
        changes: dict[Thing, Any] = {}
        for key, value in new.items():
            changes |= self.put(key, value)
        self.revision(changes)

    @rule(replica=replicas, key=keys, data=st.data())
    def roll_back(self, replica: int, key: str, data: st.DataObject) -> None:
        """To any revision, also to that of a rollback."""
        target = data.draw(st.integers(0, self.truth.head))
        value = self.stored_at(key, target)
        if not self.lawful(value) and self.stored.get(key) != value:
            with pytest.raises(InvalidArgument):
                self.run(self.replicas[replica].settings.rollback(key, target, "", ANA))
            return
        self.run(self.replicas[replica].settings.rollback(key, target, "", ANA))
        self.revision(self.put(key, value))

    def stored_at(self, key: str, revision: int) -> int | None:
        return self.pasts[revision].get(key) if revision < len(self.pasts) else self.stored.get(key)

    @property
    def pasts(self) -> list[dict[str, int]]:
        """What was stored after each revision."""
        if not hasattr(self, "_pasts"):
            self._pasts: list[dict[str, int]] = []
        return self._pasts

    @rule(replica=replicas, default=st.integers(0, 5), most=st.sampled_from([6, 9, MOST]))
    def declare(self, replica: int, default: int, most: int) -> None:
        """A new release with another law: what breaks it is reset in the same revision."""
        changes: dict[Thing, Any] = {}
        self.release += 1
        another = (default, most) != (self.default, self.most)
        self.default, self.most = default, most
        self.run(self.replicas[replica].settings.register(self.definitions(), ANA))
        if another:
            for key in KEYS:
                if not self.lawful(self.stored.get(key)):
                    self.put(key, None)
                changes["setting", key] = self.effective(key)
        self.revision(changes)

    @rule(replica=replicas, role=roles, some=st.sets(st.sampled_from(PERMISSIONS), min_size=1))
    def set_role(self, replica: int, role: str, some: set[str]) -> None:
        """Make or change a role."""
        permissions, book = tuple(sorted(some)), self.replicas[replica].roles
        if role in self.held:
            self.run(book.update(role, ROOT, permissions=permissions))
        else:
            self.run(book.create(StoredRole(role, permissions), ROOT))
        if self.held.get(role) != permissions:
            self.held[role] = permissions
            self.revision({("role", role): permissions})

    @rule(replica=replicas, role=roles)
    def delete_role(self, replica: int, role: str) -> None:
        """With its bindings, in one revision."""
        book = self.replicas[replica].roles
        if role not in self.held:
            with pytest.raises(NotFound):
                self.run(book.delete(role, ROOT))
            return
        self.run(book.delete(role, ROOT))
        del self.held[role]
        gone = [binding for binding, (_, held, _) in self.bindings.items() if held == role]
        for binding in gone:
            del self.bindings[binding]
        self.revision({("role", role): None} | {("binding", binding): None for binding in gone})

    @rule(replica=replicas, role=roles, subject=st.sampled_from(["ann", "bob"]))
    def bind(self, replica: int, role: str, subject: str) -> None:
        """Give a role, or have it already."""
        book = self.replicas[replica].roles
        if role not in self.held:
            with pytest.raises(NotFound):
                self.run(book.bind(subject, role, "", ROOT))
            return
        made = self.run(book.bind(subject, role, "", ROOT))
        if made.id not in self.bindings:
            self.bindings[made.id] = (subject, role, "")
            self.revision({("binding", made.id): (subject, role, "")})

    @rule(replica=replicas, data=st.data())
    def unbind(self, replica: int, data: st.DataObject) -> None:
        """Take one back; a built-in role stays as it is."""
        book = self.replicas[replica].roles
        with pytest.raises(FailedPrecondition):
            self.run(book.delete("viewer", ROOT))
        if self.bindings:
            binding = data.draw(st.sampled_from(sorted(self.bindings)))
            self.run(book.unbind(binding, ROOT))
            del self.bindings[binding]
            self.revision({("binding", binding): None})

    # Who watches

    def start(self, watcher: Watcher, replica: int, start: int) -> None:
        """Open a stream."""
        watcher.begin(replica, self.replicas[replica].messages(start), start)

    def take(self, watcher: Watcher, count: int) -> None:
        """Read on. The first read begins the stream, and that makes its replica look."""
        if watcher.due is None:
            self.look(watcher.replica)
            start = watcher.streams[-1].start
            watcher.due = 1 + (
                1 if start == 0 else self.truth.head - start
            )  # what is missed, then a bookmark
        self.run(watcher.read(count))

    @rule(target=watchers, replica=replicas, data=st.data())
    def watch(self, replica: int, data: st.DataObject) -> Watcher:
        """From a snapshot or from any revision."""
        watcher = Watcher()
        self.start(watcher, replica, data.draw(st.integers(0, self.truth.head)))
        self.all.append(watcher)
        return watcher

    @rule(watcher=watchers, count=st.integers(1, 6))
    def read(self, watcher: Watcher, count: int) -> None:
        if watcher.open is not None:
            self.take(watcher, count)

    @rule(watcher=watchers)
    def cut(self, watcher: Watcher) -> None:
        self.run(watcher.cut())

    @rule(watcher=watchers, replica=replicas)
    def resume(self, watcher: Watcher, replica: int) -> None:
        """At this or the other replica, after what was read."""
        self.run(watcher.cut())
        self.start(watcher, replica, watcher.position)

    @rule(replica=replicas)
    def look(self, replica: int) -> None:
        """The poll: a replica finds what the other one has written, and its open streams have it ready."""
        self.run(self.replicas[replica].feed.refresh())
        for watcher in self.all:
            if watcher.due is not None and watcher.replica == replica:
                watcher.due += self.truth.head - self.known[replica]
        self.known[replica] = self.truth.head

    @rule(replica=replicas)
    def kill(self, replica: int) -> None:
        """A replica dies with all of its streams; another process takes its place and knows nothing."""
        for watcher in self.all:
            if watcher.replica == replica:
                self.run(watcher.cut())
        self.replicas[replica] = Replica(self.database)
        self.known[replica] = 0

    @rule(replica=replicas, data=st.data())
    def cut_at_every_boundary(self, replica: int, data: st.DataObject) -> None:
        """From one revision: for each k, k messages, a cut, and the rest from the other replica."""
        start = data.draw(st.integers(max(0, self.truth.head - 8), self.truth.head))
        whole = 1 + (1 if start == 0 else self.truth.head - start)
        for k in range(whole + 1):
            watcher = Watcher()
            watcher.position = start
            self.start(watcher, replica, start)
            self.take(watcher, k)
            self.run(watcher.cut())
            self.start(watcher, 1 - replica, watcher.position)
            self.take(watcher, whole)
            self.run(watcher.cut())
            check(self.truth, watcher.streams)
            assert watcher.position == self.truth.head

    @invariant()
    def every_promise_holds(self) -> None:
        while len(self.pasts) <= self.truth.head:
            self.pasts.append(dict(self.stored))
        for watcher in self.all:
            check(self.truth, watcher.streams)

    def teardown(self) -> None:
        """Everybody catches up: whoever resumes has the whole rest."""
        for number, watcher in enumerate(self.all):
            self.run(watcher.cut())
            self.start(watcher, number % 2, watcher.position)
            self.take(watcher, self.truth.head + 2)
            self.run(watcher.cut())
            check(self.truth, watcher.streams)
            assert watcher.position == self.truth.head


@pytest.mark.hypothesis
def test_whatever_happens_each_watcher_sees_each_revision_once_whole_and_in_order(
    engines: EmbeddedMesh,
) -> None:
    """etcd's own harness found two lost events in exactly such histories (etcd#18089, #19179)."""
    with asyncio.Runner() as runner:
        Histories.runner = runner
        stack = AsyncExitStack()
        Histories.database = runner.run(stack.enter_async_context(open_history(engines)))
        try:
            profile = settings.get_profile(settings.get_current_profile_name())
            limits = settings(
                profile,
                max_examples=profile.max_examples // 2,
                deadline=None,
                stateful_step_count=30,
                suppress_health_check=list(HealthCheck),
            )
            run_state_machine_as_test(Histories, settings=limits)  # type: ignore[no-untyped-call]
        finally:
            runner.run(stack.aclose())
