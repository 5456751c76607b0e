"""What the domain asks of a store. Reads see one consistent state; writes are one after another, each at most one revision."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from services.configuration.domain.changes import Author, Change, Head, SettingChange, Transaction
from services.configuration.domain.definition import Definition
from services.configuration.domain.events import Event
from services.configuration.domain.filter import SettingFilter
from services.configuration.domain.guard import Rate
from services.configuration.domain.pending import PendingChange, State
from services.configuration.domain.retention import Retention
from services.configuration.domain.role import Role, RoleBinding
from services.configuration.domain.rollout import Acknowledgement, Instance
from services.configuration.domain.setting import Setting
from services.configuration.domain.values import Json, Stored


class Settings(Protocol):
    """Definitions with their values."""

    async def get(self, key: str) -> Setting | None: ...

    async def among(self, keys: Iterable[str]) -> dict[str, Setting]:
        """Those of `keys` that are defined, by key."""
        ...

    async def page(self, after: str, limit: int, wanted: SettingFilter) -> Sequence[Setting]:
        """Ascending by key, from the first key after `after`."""
        ...

    async def all(self) -> Sequence[Setting]: ...

    async def keys(self) -> Sequence[str]: ...

    async def note_release(self, definition: Definition) -> None:
        """Remember that a newer release declares the same; no revision."""
        ...


class Roles(Protocol):
    """Roles and who holds them."""

    async def get(self, role_id: str) -> Role | None: ...

    async def page(self, after: str, limit: int) -> Sequence[Role]:
        """Ascending by id, from the first id after `after`."""
        ...

    async def all(self) -> Sequence[Role]: ...

    async def binding(self, binding_id: str) -> RoleBinding | None: ...

    async def bindings(
        self,
        *,
        subject: str = "",
        role_id: str = "",
        bot_id: str = "",
        before: str = "",
        limit: int | None = None,
    ) -> Sequence[RoleBinding]:
        """Newest first, from the first id below `before`; empty arguments select everything."""
        ...


class Log(Protocol):
    """The history itself."""

    async def head(self) -> Head: ...

    async def transactions(self, after: int, upto: int, limit: int) -> Sequence[Transaction]:
        """Whole transactions with `after` < revision ≤ `upto`, in order, at most `limit`."""
        ...

    async def setting_at(self, key: str, revision: int) -> Stored | None:
        """What was stored for `key` after `revision`."""
        ...

    async def settings_at(self, revision: int) -> dict[str, Stored]:
        """What was stored after `revision`, by key; settings at their default are left out."""
        ...

    async def setting_history(
        self, key: str, before: tuple[int, str] | None, limit: int
    ) -> Sequence[tuple[Transaction, SettingChange]]:
        """Changes of one setting, or of all if `key` is empty, newest first; `before` is (revision, key) of the last one seen.

        Each transaction comes without its other changes.
        """
        ...


class Pending(Protocol):
    """Changes that are, or were, on their way."""

    async def get(self, change_id: str) -> PendingChange | None: ...

    async def page(self, before: str, limit: int, state: State | None) -> Sequence[PendingChange]:
        """Newest first, from the first id below `before`; in one state, or in any if it is None."""
        ...

    async def driven(self, now: datetime, limit: int) -> Sequence[PendingChange]:
        """Those that roll out, and those whose time has come; the longest due first."""
        ...


class Reader(Protocol):
    """One consistent state."""

    @property
    def settings(self) -> Settings: ...

    @property
    def roles(self) -> Roles: ...

    @property
    def log(self) -> Log: ...

    @property
    def pending(self) -> Pending: ...


class Writer(Reader, Protocol):
    """The state as it is while no one else can write. What `append` does is visible to later reads of the same writer."""

    @property
    def head(self) -> Head:
        """Where the history stands before this writer."""
        ...

    async def append(self, changes: Sequence[Change], author: Author) -> Transaction:
        """Make the next revision of the changes. At most once a writer; the changes are not empty."""
        ...

    async def hold(self, change: PendingChange) -> None:
        """No other change of its settings, which must be free, until it is final. Comes before what it stages."""
        ...

    async def keep(self, change: PendingChange) -> None:
        """Make it what is stored; a final one lets go of its settings, and of what is staged for them."""
        ...

    async def note(self, event: Event) -> None:
        """Put it on the audit trail in this transaction."""
        ...

    async def note_built_in_release(self, release: str) -> None:
        """Remember whose built-in roles are in force; no revision."""
        ...

    async def recall(self, request_id: str, method: str, actor: str) -> tuple[str, Json] | None:
        """Hash of the request and answer that `remember` kept within 24 hours."""
        ...

    async def remember(
        self, request_id: str, method: str, actor: str, request_hash: str, response: Json
    ) -> None:
        """Keep the answer to a request in this transaction."""
        ...


class Store(Protocol):
    """Raises Unavailable while the database is away."""

    def read(self) -> AbstractAsyncContextManager[Reader]: ...

    def write(self) -> AbstractAsyncContextManager[Writer]: ...

    async def head(self) -> Head: ...


class Compaction(Protocol):
    """Takes the oldest part of the history away."""

    async def step(self, retention: Retention, now: datetime) -> bool:
        """One small step; False if there is nothing to do or another replica is at it. Raises Unavailable."""
        ...


class Instances(Protocol):
    """What is known of the processes that watch."""

    async def saw(self, connected: Iterable[tuple[str, str, datetime]], now: datetime) -> None:
        """These (service, instance, connect time) are connected at `now`."""
        ...

    async def left(self, service: str, instance: str, connect_time: datetime) -> None:
        """The stream that began at `connect_time` has ended; a newer one of the same instance stays."""
        ...

    async def acknowledge(self, said: Acknowledgement, now: datetime) -> None:
        """Note it, unless something about a later revision of the same history was said already."""
        ...

    async def all(self, service: str, since: datetime, limit: int) -> Sequence[Instance]:
        """Those seen after `since`, of one service or of all if it is empty."""
        ...


class ErrorRates(Protocol):
    """How calls end in instances."""

    async def of(self, service: str, instances: Collection[str], since: datetime) -> Rate:
        """Calls that these instances of a service have served since then, as far as they have told."""
        ...


class InstanceCalls(ErrorRates, Protocol):
    """What instances tell of their calls."""

    async def told(
        self, service: str, instance: str, count_time: datetime, totals: Rate, now: datetime
    ) -> None:
        """Totals since `count_time`. Of the reports of the same few seconds the first is kept."""
        ...

    async def prune(self, now: datetime) -> None:
        """Forget what no guard looks back to."""
        ...
