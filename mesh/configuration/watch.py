"""The loop that keeps this process's copy of configuration fresh, and tells configuration what became of it.

It registers the settings this service owns, then watches (`WatchService.Watch`): a snapshot first, then whole transactions in the order
of their revisions. The copy is immutable and swapped whole, so nobody ever reads half a change. After a lost stream the loop resumes
after the last revision it applied and misses nothing; when it cannot go on it takes a new snapshot. While configuration is away the last
copy stays in force; a process that starts meanwhile begins with the one it finds on the disk (`file.py`).

What is in force here is decided in `own.py`. Configuration is told beside the stream, so that a slow answer holds nothing up: the newest
state counts, and it is told again until it is noted, and after each reconnect.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, TypeVar

import grpc.aio
from loguru import logger

from mesh.authorization import Policy
from mesh.channels import DEFAULT_TIMEOUT, invoke, subscribe
from mesh.clock import Clock
from mesh.configuration.copy import Copy, from_snapshot, with_changes
from mesh.configuration.definition import SettingDefinition
from mesh.configuration.file import CopyFile, Kept
from mesh.configuration.own import OwnSettings
from mesh.configuration.snapshot import SettingsView, Snapshot
from mesh.errors import MeshError, Unavailable
from mesh.tasks import TaskSet, set_within
from mesh.telemetry.metrics import RpcTotals
from mesh.version import VERSION
from vivesphere.configuration.v1 import rollout_pb2, watch_pb2, watch_service_pb2, watch_service_pb2_grpc

FIRST_RETRY = timedelta(milliseconds=100)
LONGEST_RETRY = timedelta(seconds=5)
SILENCE = timedelta(seconds=15)
"""Bookmarks come every 5 seconds; three missed ones mean the stream is dead."""
HEALTH_INTERVAL = timedelta(seconds=5)
"""How often the guard of a gradual roll-out is told how calls end here (contract of ReportHealth)."""
BASELINE_PATIENCE = timedelta(seconds=1)
"""How long a revision that stages a value may wait for the report of the time before it."""
MAX_TOLD = 200
"""Refusals, and keys that wait for a restart, in one acknowledgement (contract of AckRevision)."""
PASSING = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
"""Codes after which the same acknowledgement may be taken later."""

T = TypeVar("T")
V = TypeVar("V", bound=SettingsView)


class ConfigurationWatch:
    """The process's copy and the loop that keeps it fresh.

    `file` is where it lies on the disk, None: nowhere. `totals` are the calls that this process has served, for the guard of gradual
    roll-outs.
    """

    def __init__(
        self,
        service: str,
        instance: str,
        channel: grpc.aio.Channel,
        clock: Clock,
        file: CopyFile | None = None,
        totals: Callable[[], RpcTotals] | None = None,
    ) -> None:
        self._service = service
        self._instance = instance
        self._stub = watch_service_pb2_grpc.WatchServiceStub(channel)
        self._clock = clock
        self._file = file
        self._totals = totals
        self._count_time = clock.now()
        self._definitions: dict[str, SettingDefinition[Any]] = {}
        self._own = OwnSettings(instance)
        self._copy: Copy | None = None
        self._omitted: frozenset[str] = frozenset()
        """Keys that the copy lacks since it came from the disk."""
        self._complete_time = clock.now()
        self._resumes = True
        """Whether the next stream may begin after the copy's revision; else it begins with a snapshot."""
        self._connected = False
        self._heard = asyncio.Event()
        self._untold = asyncio.Event()

    def define(self, definitions: Iterable[SettingDefinition[Any]]) -> None:
        """Register settings that this service owns; done before `run`."""
        owned = tuple(definitions)
        self._own.use(owned)
        self._definitions |= {definition.key: definition for definition in owned}

    def use(self, definitions: Iterable[SettingDefinition[Any]]) -> None:
        """Hold values of settings that another service owns against their definitions too; done before `run`."""
        self._own.use(definitions)

    def on_change(self, definition: SettingDefinition[T], listener: Callable[[T, T], None]) -> None:
        """Call `listener(old, new)` after each change of the value in force in this process; done before `run`.

        Listeners are plain functions and quick: they are called one at a time, in the order in which they registered, between two steps
        of the event loop. One that raises refuses the value: the old one is in force again, listeners that had taken the new one are called
        to go back, and configuration is told. The text of a SettingRefused travels as the reason; it must not contain the value.
        """
        self._own.on_change(definition, listener)

    def on_change_of(
        self, definitions: Sequence[SettingDefinition[Any]], listener: Callable[[Snapshot, Snapshot], None]
    ) -> None:
        """As `on_change`, for several settings that belong together: called once a revision; refuses all that changed."""
        self._own.on_change_of(definitions, listener)

    def current(self) -> Snapshot:
        """What is in force now. Read several settings from one snapshot, and take a new one for the next piece of work."""
        return self._own.current

    def view(self, kind: type[V]) -> V:
        """The settings of a view, from one snapshot."""
        return kind(self.current())

    def value(self, definition: SettingDefinition[T]) -> T:
        """The value in force: as configuration last said, else the default."""
        return self.current().value(definition)

    def policy(self) -> Policy:
        """Roles and bindings. Raises Unavailable (POLICY_NOT_LOADED) before the first copy: unknown is not allowed."""
        policy = self.current().policy
        if policy is None:
            raise Unavailable(
                "POLICY_NOT_LOADED",
                "roles have not been read from configuration yet",
                retry_after=timedelta(seconds=1),
            )
        return policy

    @property
    def revision(self) -> int:
        """Revision of the copy in force; -1 before the first one."""
        return self.current().revision

    async def heard(self, patience: timedelta) -> bool:
        """Wait until the copy is what configuration says now, at most for `patience`. For what a process takes only at its start."""
        return await set_within(self._heard, patience)

    async def check(self) -> None:
        """Raises Unavailable unless there is a copy and the stream is alive."""
        self.policy()
        if not self._connected:
            raise Unavailable(
                "SERVICE_UNAVAILABLE",
                "configuration does not answer; its last word stays in force",
                metadata={"completeTime": self._complete_time.isoformat(timespec="seconds")},
            )

    async def check_settings(self) -> None:
        """Raises Unavailable while this process refuses a value."""
        refused = self._own.refusals
        if refused:
            raise Unavailable(
                "SERVICE_UNAVAILABLE",
                "values of settings are refused; the ones before stay in force",
                metadata=dict(list(refused.items())[:10]),
            )

    def load(self) -> None:
        """Begin with the copy on the disk, if there is a good one. Done after `define` and `on_change`, before `run`."""
        kept = self._file.load() if self._file else None
        if kept is None:
            return
        self._omitted = kept.omitted
        self._resumes = not kept.omitted
        self._complete_time = kept.complete_time
        self._own.keep(kept.in_force)
        self._copy = kept.copy
        self._own.accept(kept.copy)
        logger.bind(revision=kept.copy.revision, complete_time=kept.complete_time.isoformat()).info(
            "began with the last known configuration"
        )

    async def run(self) -> None:
        """Register, watch and acknowledge until cancelled."""
        async with TaskSet(clock=self._clock) as tasks:
            tasks.spawn_loop(self._acknowledge_all, name="configuration acknowledgements")
            tasks.spawn_loop(self._report_while_staged, name="configuration health reports")
            file = self._file
            if file is not None:
                tasks.spawn_loop(lambda: file.run(self._kept), name="configuration on disk")
            await self._watch()

    async def _watch(self) -> None:
        retry = FIRST_RETRY
        while True:
            before = self.revision
            try:
                await self._register()
                await self._follow()
            except MeshError as error:
                logger.bind(reason=error.reason).debug("configuration watch interrupted")
            self._connected = False
            retry = FIRST_RETRY if self.revision != before else min(retry * 2, LONGEST_RETRY)
            await self._clock.sleep(retry)

    async def _register(self) -> None:
        if not self._definitions:
            return
        definitions = [definition.to_proto() for definition in self._definitions.values()]
        await invoke(
            self._stub.RegisterDefinitions,
            watch_service_pb2.RegisterDefinitionsRequest(definitions=definitions, release=VERSION),
        )

    async def _follow(self) -> None:
        copy = self._copy if self._resumes else None
        request = watch_service_pb2.WatchRequest(
            instance=self._instance,
            from_revision=copy.revision if copy else 0,
            history_id=copy.history_id if copy else "",
        )
        parts: list[watch_pb2.PolicySnapshot] = []
        try:
            async with aclosing(subscribe(self._stub.Watch, request, silence=SILENCE)) as events:
                async for event in events:
                    if not self._connected:
                        self._connected = True
                        self._untold.set()  # whoever answers now may not have noted what was told before
                    if event.HasField("snapshot"):
                        parts.append(event.snapshot)
                        if not event.snapshot.more:
                            await self._begin(parts)
                            parts = []
                    elif not await self._go_on(event):
                        self._resumes = False
                        return
        except MeshError as error:
            if error.code == "OUT_OF_RANGE":
                self._resumes = False
            raise

    async def _begin(self, parts: Sequence[watch_pb2.PolicySnapshot]) -> None:
        self._omitted, self._resumes = frozenset(), True
        await self._apply(from_snapshot(parts))
        self._heard.set()

    async def _go_on(self, event: watch_service_pb2.WatchResponse) -> bool:
        """Take a transaction or a bookmark. False: the stream cannot be continued, and a new snapshot is the way out."""
        copy = self._copy
        match event.WhichOneof("event"):
            case "transaction" if copy is not None and event.transaction.revision == copy.revision + 1:
                await self._apply(with_changes(copy, event.transaction))
                return True
            case "bookmark" if copy is not None and event.bookmark.revision <= copy.revision:
                self._confirm(event.bookmark.revision)
                return True
            case "resync":
                logger.bind(revision=self.revision).info("configuration begins again with a snapshot")
            case kind:
                logger.bind(revision=self.revision, event=kind).error("gap in the watch of configuration")
        return False

    def _confirm(self, revision: int) -> None:
        if revision == self.revision:
            self._complete_time = self._clock.now()
            self._heard.set()
            if self._file is not None:
                self._file.confirmed()

    async def _apply(self, copy: Copy) -> None:
        if copy.staged and not (self._copy and self._copy.staged):
            await self._report_health(BASELINE_PATIENCE)
        self._copy = copy
        self._own.accept(copy)
        self._complete_time = self._clock.now()
        logger.bind(revision=copy.revision).debug("configuration applied")
        self._untold.set()
        if self._file is not None:
            self._file.changed()

    def _kept(self) -> Kept | None:
        if self._copy is None:
            return None
        own = self._own
        in_force = {key: own.current.values[key] for key in own.refusals if key in own.current.values}
        return Kept(self._copy, self._complete_time, in_force, self._omitted | own.sensitive)

    async def _acknowledge_all(self) -> None:
        while True:
            await self._untold.wait()
            self._untold.clear()
            retry = FIRST_RETRY
            while not await self._acknowledge():
                await self._clock.sleep(retry)
                retry = min(retry * 2, LONGEST_RETRY)

    async def _acknowledge(self) -> bool:
        """Tell the newest state. False: it was not noted and should be told again."""
        copy, refused = self._copy, self._own.refusals
        if copy is None:
            return True
        request = watch_service_pb2.AckRevisionRequest(
            instance=self._instance,
            revision=copy.revision,
            history_id=copy.history_id,
            outcome=watch_service_pb2.ACK_OUTCOME_REFUSED
            if refused
            else watch_service_pb2.ACK_OUTCOME_APPLIED,
            refusals=[
                rollout_pb2.SettingRefusal(key=key, reason=why)
                for key, why in sorted(refused.items())[:MAX_TOLD]
            ],
            restart_pending_keys=self._own.restart_pending[:MAX_TOLD],
        )
        try:
            await invoke(self._stub.AckRevision, request)
        except MeshError as error:
            logger.bind(reason=error.reason).debug("revision not acknowledged")
            return error.code not in PASSING
        return True

    async def _report_while_staged(self) -> None:
        while True:
            await self._clock.sleep(HEALTH_INTERVAL)
            if self._copy is not None and self._copy.staged:
                await self._report_health(DEFAULT_TIMEOUT)

    async def _report_health(self, patience: timedelta) -> None:
        """Tell how calls end here. The next report says all that a lost one would have said."""
        if self._totals is None:
            return
        calls, failed = self._totals()
        request = watch_service_pb2.ReportHealthRequest(
            instance=self._instance, calls=calls, failed_calls=failed
        )
        request.count_time.FromDatetime(self._count_time)
        try:
            await invoke(self._stub.ReportHealth, request, timeout=patience)
        except MeshError as error:
            logger.bind(reason=error.reason).debug("health not reported")
