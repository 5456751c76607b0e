"""Settings and roles of this moment: this process's copy of what configuration keeps.

A loop registers the settings this service owns, then watches (`WatchService.Watch`): a snapshot first, then whole transactions in the
order of their revisions. The copy is immutable and swapped whole, so nobody ever reads half a change. After a lost stream the loop
resumes after the last revision it applied and misses nothing; when it cannot go on it takes a new snapshot. While configuration is
away the last copy stays in force.

A value that breaks its definition is not applied: the old one stays, and configuration is told so.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Generic, TypeVar

import grpc.aio
import jsonschema
from google.protobuf import json_format, struct_pb2
from loguru import logger

from mesh.authorization import Binding, Policy
from mesh.channels import invoke, subscribe
from mesh.clock import Clock
from mesh.errors import MeshError, Unavailable
from mesh.version import VERSION
from vivesphere.configuration.v1 import (
    rollout_pb2,
    setting_pb2,
    watch_pb2,
    watch_service_pb2,
    watch_service_pb2_grpc,
)

FIRST_RETRY = timedelta(milliseconds=100)
LONGEST_RETRY = timedelta(seconds=5)
SILENCE = timedelta(seconds=15)
"""Bookmarks come every 5 seconds; three missed ones mean the stream is dead."""

T = TypeVar("T")


@dataclass(
    frozen=True
)  # no slots: `SettingDefinition[int](…)` cannot set `__orig_class__` on a frozen class with slots
class SettingDefinition(Generic[T]):
    """One setting that a service owns. `json_schema` is draft 2020-12 and holds for `default` as well."""

    key: str
    default: T
    json_schema: Mapping[str, Any]
    description: str
    unit: str = ""
    restart_required: bool = False

    def to_proto(self) -> setting_pb2.SettingDefinition:
        """The definition as the contract has it."""
        message = setting_pb2.SettingDefinition(
            key=self.key,
            description=self.description,
            unit=self.unit,
            restart_required=self.restart_required,
        )
        message.json_schema.update(dict(self.json_schema))
        json_format.Parse(json.dumps(self.default), message.default_value)
        return message


@dataclass(frozen=True, slots=True)
class Copy:
    """Everything in force at one revision of one history."""

    history_id: str
    revision: int
    settings: Mapping[str, Any]
    roles: Mapping[str, frozenset[str]]
    bindings: Mapping[str, Binding]
    """By binding id."""
    policy: Policy = field(init=False)

    def __post_init__(self) -> None:
        by_subject: dict[str, tuple[Binding, ...]] = {}
        for binding in self.bindings.values():
            by_subject[binding.subject] = (*by_subject.get(binding.subject, ()), binding)
        object.__setattr__(self, "policy", Policy(self.revision, self.roles, by_subject))


class ConfigurationWatch:
    """The process's copy and the loop that keeps it fresh."""

    def __init__(self, service: str, instance: str, channel: grpc.aio.Channel, clock: Clock) -> None:
        self._service = service
        self._instance = instance
        self._stub = watch_service_pb2_grpc.WatchServiceStub(channel)
        self._clock = clock
        self._definitions: dict[str, SettingDefinition[Any]] = {}
        self._copy: Copy | None = None
        self._connected = False

    def define(self, definitions: Iterable[SettingDefinition[Any]]) -> None:
        """Register settings; done before `run`."""
        for definition in definitions:
            jsonschema.validate(definition.default, dict(definition.json_schema))
            self._definitions[definition.key] = definition

    def value(self, definition: SettingDefinition[T]) -> T:
        """The value in force: as configuration last said, else the default."""
        copy = self._copy
        return definition.default if copy is None else copy.settings.get(definition.key, definition.default)

    def policy(self) -> Policy:
        """Roles and bindings. Raises Unavailable (POLICY_NOT_LOADED) before the first snapshot: unknown is not allowed."""
        if self._copy is None:
            raise Unavailable(
                "POLICY_NOT_LOADED",
                "roles have not been read from configuration yet",
                retry_after=timedelta(seconds=1),
            )
        return self._copy.policy

    @property
    def revision(self) -> int:
        """Revision of the copy in force; -1 before the first snapshot."""
        return -1 if self._copy is None else self._copy.revision

    async def check(self) -> None:
        """Raises Unavailable unless there is a copy and the stream is alive."""
        self.policy()
        if not self._connected:
            raise Unavailable(
                "SERVICE_UNAVAILABLE", "configuration does not answer; its last word stays in force"
            )

    async def run(self) -> None:
        """Register and watch until cancelled."""
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
        copy = self._copy
        request = watch_service_pb2.WatchRequest(
            instance=self._instance,
            from_revision=copy.revision if copy else 0,
            history_id=copy.history_id if copy else "",
        )
        parts: list[watch_pb2.PolicySnapshot] = []
        try:
            async for event in self._events(request):
                self._connected = True
                kind = event.WhichOneof("event")
                if kind == "snapshot":
                    parts.append(event.snapshot)
                    if not event.snapshot.more:
                        await self._apply(_from_snapshot(parts))
                        parts = []
                elif kind == "transaction" and self._copy is not None:
                    await self._apply(_with_changes(self._copy, event.transaction))
                elif kind == "resync":
                    self._forget_position()
                    return
        except MeshError as error:
            if error.code == "OUT_OF_RANGE":
                self._forget_position()
            raise

    async def _events(
        self, request: watch_service_pb2.WatchRequest
    ) -> AsyncIterator[watch_service_pb2.WatchResponse]:
        stream = subscribe(self._stub.Watch, request, silence=SILENCE)
        async for event in stream:
            yield event

    def _forget_position(self) -> None:
        """Ask for a snapshot next time; what is in force stays in force until it comes."""
        if self._copy is not None:
            self._copy = replace(self._copy, history_id="", revision=0)

    async def _apply(self, copy: Copy) -> None:
        refused = self._refusals(copy.settings)
        if refused:
            before = {} if self._copy is None else self._copy.settings
            kept = {key: before.get(key, self._definitions[key].default) for key in refused}
            copy = replace(copy, settings={**copy.settings, **kept})
        self._copy = copy
        logger.bind(revision=copy.revision, refused=sorted(refused)).debug("configuration applied")
        await self._acknowledge(copy, refused)

    def _refusals(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Our own settings whose value breaks its definition: why, by key."""
        refused: dict[str, str] = {}
        for key, definition in self._definitions.items():
            try:
                jsonschema.validate(settings.get(key, definition.default), dict(definition.json_schema))
            except jsonschema.ValidationError as error:
                refused[key] = error.message[:200]
        return refused

    async def _acknowledge(self, copy: Copy, refused: Mapping[str, str]) -> None:
        outcome = watch_service_pb2.ACK_OUTCOME_REFUSED if refused else watch_service_pb2.ACK_OUTCOME_APPLIED
        request = watch_service_pb2.AckRevisionRequest(
            instance=self._instance,
            revision=copy.revision,
            history_id=copy.history_id,
            outcome=outcome,
            refusals=[rollout_pb2.SettingRefusal(key=key, reason=why) for key, why in refused.items()],
        )
        try:
            await invoke(self._stub.AckRevision, request)
        except MeshError as error:
            # The next acknowledgement says more than this one would have.
            logger.bind(reason=error.reason).debug("revision not acknowledged")


def _from_snapshot(parts: Iterable[watch_pb2.PolicySnapshot]) -> Copy:
    messages = list(parts)
    return Copy(
        history_id=messages[-1].history_id,
        revision=messages[-1].revision,
        settings={s.key: _plain(s.value) for part in messages for s in part.settings},
        roles={r.id: frozenset(r.permissions) for part in messages for r in part.roles},
        bindings={
            b.id: Binding(b.subject, b.role_id, b.bot_id) for part in messages for b in part.role_bindings
        },
    )


def _with_changes(copy: Copy, transaction: watch_pb2.PolicyTransaction) -> Copy:
    settings, roles, bindings = dict(copy.settings), dict(copy.roles), dict(copy.bindings)
    for change in transaction.changes:
        match change.WhichOneof("change"):
            case "setting":
                settings[change.setting.key] = _plain(change.setting.value)
            case "removed_setting_key":
                settings.pop(change.removed_setting_key, None)
            case "role":
                roles[change.role.id] = frozenset(change.role.permissions)
            case "removed_role_id":
                roles.pop(change.removed_role_id, None)
            case "role_binding":
                binding = change.role_binding
                bindings[binding.id] = Binding(binding.subject, binding.role_id, binding.bot_id)
            case "removed_role_binding_id":
                bindings.pop(change.removed_role_binding_id, None)
    return Copy(copy.history_id, transaction.revision, settings, roles, bindings)


def _plain(value: struct_pb2.Value) -> Any:
    return _whole(json_format.MessageToDict(value))


def _whole(value: Any) -> Any:
    """protobuf's Value has one kind of number, a double; integral ones are integers again, inside lists and objects too."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole(item) for item in value]
        case dict():
            return {name: _whole(item) for name, item in value.items()}
    return value
