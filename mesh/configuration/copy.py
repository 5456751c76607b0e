"""What configuration has said: everything at one revision of one history, and how messages of the watch become it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format, struct_pb2

from mesh.authorization import Binding, Policy
from mesh.configuration.staged import within_share
from vivesphere.configuration.v1 import watch_pb2

MAX_EXACT = 2**53
"""Up to here a double holds every integer exactly (IEEE 754)."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A value in gradual roll-out. `value` is empty where the definition's default is meant, else the one value."""

    change_id: str
    share_percent: int
    value: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """A setting as configuration says it. `value` as in `Staged`."""

    value: tuple[Any, ...]
    sensitive: bool = False
    staged: Staged | None = None

    def for_instance(self, instance: str) -> tuple[Any, ...]:
        """What one instance is to use; empty: the default."""
        staged = self.staged
        if staged is not None and within_share(staged.change_id, instance, staged.share_percent):
            return staged.value
        return self.value


@dataclass(frozen=True, slots=True)
class Copy:
    """Everything at one revision of one history. Never changed; the next revision makes a new one."""

    history_id: str
    revision: int
    settings: Mapping[str, Offer]
    roles: Mapping[str, frozenset[str]]
    bindings: Mapping[str, Binding]
    """By binding id."""
    policy: Policy = field(init=False)

    def __post_init__(self) -> None:
        by_subject: dict[str, tuple[Binding, ...]] = {}
        for binding in self.bindings.values():
            by_subject[binding.subject] = (*by_subject.get(binding.subject, ()), binding)
        object.__setattr__(self, "policy", Policy(self.revision, self.roles, by_subject))

    @property
    def staged(self) -> bool:
        """Whether any value is in gradual roll-out."""
        return any(offer.staged is not None for offer in self.settings.values())


def from_snapshot(parts: Iterable[watch_pb2.PolicySnapshot]) -> Copy:
    """The copy that all parts of a snapshot make together."""
    messages = list(parts)
    return Copy(
        history_id=messages[-1].history_id,
        revision=messages[-1].revision,
        settings={s.key: _offer(s) for part in messages for s in part.settings},
        roles={r.id: frozenset(r.permissions) for part in messages for r in part.roles},
        bindings={
            b.id: Binding(b.subject, b.role_id, b.bot_id) for part in messages for b in part.role_bindings
        },
    )


def with_changes(copy: Copy, transaction: watch_pb2.PolicyTransaction) -> Copy:
    """The copy after the next revision."""
    settings, roles, bindings = dict(copy.settings), dict(copy.roles), dict(copy.bindings)
    for change in transaction.changes:
        match change.WhichOneof("change"):
            case "setting":
                settings[change.setting.key] = _offer(change.setting)
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


def _offer(message: watch_pb2.EffectiveSetting) -> Offer:
    staged = None
    if message.HasField("staged"):
        value = (_plain(message.staged.value),) if message.staged.HasField("value") else ()
        staged = Staged(message.staged.change_id, message.staged.share_percent, value)
    return Offer((_plain(message.value),), message.sensitive, staged)


def _plain(value: struct_pb2.Value) -> Any:
    return _whole(json_format.MessageToDict(value))


def _whole(value: Any) -> Any:
    """protobuf's Value has one kind of number, a double; integral ones are integers again, inside lists and objects too."""
    match value:
        case float() if value.is_integer() and abs(value) <= MAX_EXACT:
            return int(value)
        case list():
            return [_whole(item) for item in value]
        case dict():
            return {name: _whole(item) for name, item in value.items()}
    return value
