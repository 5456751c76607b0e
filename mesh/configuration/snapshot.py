"""What is in force in this process, for whoever reads it.

A snapshot never changes; a new revision makes a new one. Code that needs several settings takes one snapshot and reads all of them from
it, so that it never sees half a change:

    class Publish(SettingsView):
        max_attempts = MAX_ATTEMPTS
        lease = LEASE

    class BotManager(SettingsView):
        publish = Group(Publish)

    settings = configuration.view(BotManager)
    settings.publish.max_attempts     # an int, for mypy too
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar, overload

from mesh.authorization import Policy
from mesh.configuration.definition import SettingDefinition

T = TypeVar("T")
V = TypeVar("V", bound="SettingsView")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Values, roles and bindings of one revision."""

    revision: int = -1
    """-1 before the first copy."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """By key. Read through `value`, which knows defaults and what a running process keeps."""
    policy: Policy | None = None
    """None before the first copy."""
    pinned: dict[str, Any] = field(default_factory=dict)
    """What this process keeps until it starts again: of settings that say so, the first value it read. One for all snapshots."""

    def value(self, definition: SettingDefinition[T]) -> T:
        """The value in force: as configuration said, else the default."""
        value: Any = self.values.get(definition.key, definition.default)
        if definition.restart_required:
            value = self.pinned.setdefault(definition.key, value)
        # Whoever changes what they were given must not change it for everybody.
        if isinstance(value, list | dict):
            value = copy.deepcopy(value)
        checked: T = value
        return checked


class SettingsView:
    """Settings by attribute, all of one snapshot. Subclasses name definitions, each by the last segment of its key."""

    __slots__ = ("snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    @classmethod
    def of(cls, **values: object) -> Self:
        """A view with the given values of its own attributes, defaults for the rest."""
        keys = {name: getattr(cls, name).key for name in values}
        return cls(Snapshot(values={keys[name]: value for name, value in values.items()}))

    def read(self, definition: SettingDefinition[T]) -> T:
        """See `definition.Readable`."""
        return self.snapshot.value(definition)


class Group(Generic[V]):
    """A view within a view, of the same snapshot."""

    def __init__(self, kind: type[V]) -> None:
        self._kind = kind

    @overload
    def __get__(self, view: None, owner: type) -> Self: ...
    @overload
    def __get__(self, view: SettingsView, owner: type) -> V: ...
    def __get__(self, view: SettingsView | None, owner: type) -> Self | V:
        return self if view is None else self._kind(view.snapshot)
