"""What this process makes of what configuration says: which value is in force here, and what it refuses.

For each setting that the process uses, in this order:

    staged?    a value in gradual roll-out counts for instances within its share
    lawful?    a value that breaks its definition is refused: the one before stays
    swap       the new snapshot is in force, whole
    listeners  are told of what changed, in the order in which they registered; one that raises refuses: the value before is in force
               again, and those who had taken the new one are told so

A refused value is not tried again until configuration says another. Reasons never contain a value: they travel to an operator's screen.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from loguru import logger

from mesh.configuration.copy import Copy
from mesh.configuration.definition import SettingDefinition, fingerprint
from mesh.configuration.snapshot import Snapshot

T = TypeVar("T")
MAX_REASON_CHARS = 500
"""SettingRefusal.reason of the contract."""


class SettingRefused(Exception):
    """Raised by a listener that cannot take a value. The text is for an operator and must not contain the value."""


@dataclass(frozen=True, slots=True)
class _Listener:
    keys: frozenset[str]
    tell: Callable[[Snapshot, Snapshot], None]


class OwnSettings:
    """The snapshot in force and how it comes to be. Belongs to one event loop; nothing here waits."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._definitions: dict[str, SettingDefinition[Any]] = {}
        self._listeners: list[_Listener] = []
        self._judged: dict[str, tuple[str, str]] = {}
        """Fingerprint of the last value that was judged, and why it is refused ("": it is not)."""
        self.current = Snapshot()

    def use(self, definitions: Iterable[SettingDefinition[Any]]) -> None:
        """Hold values of these settings against their definitions."""
        for definition in definitions:
            fault = definition.fault(definition.default)
            if fault:
                raise ValueError(f"this is a bug: the default of {definition.key} {fault}")
            self._definitions[definition.key] = definition

    def on_change(self, definition: SettingDefinition[T], listener: Callable[[T, T], None]) -> None:
        """Call `listener(old, new)` after each change of the value in force here."""

        def tell(old: Snapshot, new: Snapshot) -> None:
            listener(old.value(definition), new.value(definition))

        self._listen([definition], listener, tell)

    def on_change_of(
        self, definitions: Sequence[SettingDefinition[Any]], listener: Callable[[Snapshot, Snapshot], None]
    ) -> None:
        """Call `listener(old, new)` once after each revision that changes any of the values in force here."""
        self._listen(definitions, listener, listener)

    @property
    def refusals(self) -> Mapping[str, str]:
        """Why values are not in force here, by key."""
        return {key: why for key, (_, why) in self._judged.items() if why}

    @property
    def sensitive(self) -> frozenset[str]:
        """Settings whose values are not for everyone's eyes, as far as this process knows them."""
        return frozenset(key for key, definition in self._definitions.items() if definition.sensitive)

    @property
    def restart_pending(self) -> Sequence[str]:
        """Settings that this process takes only when it starts again, sorted."""
        current = self.current
        return sorted(
            key
            for key, kept in current.pinned.items()
            if fingerprint(kept) != fingerprint(current.values.get(key, self._default(key, kept)))
        )

    def accept(self, copy: Copy) -> None:
        """Put what a copy says in force."""
        before = self.current
        offered = {key: offer.for_instance(self._instance) for key, offer in copy.settings.items()}
        values = {key: value[0] for key, value in offered.items() if value}
        for key, definition in self._definitions.items():
            value = values.get(key, definition.default)
            lawful = not self._judge(definition, value)
            values[key] = value if lawful else before.values.get(key, definition.default)
        self.current = Snapshot(copy.revision, values, copy.policy, before.pinned)
        self._tell(before)

    def keep(self, values: Mapping[str, Any]) -> None:
        """Before the first copy: begin with these values instead of defaults, as far as they are lawful."""
        lawful = {
            key: value
            for key, value in values.items()
            if key in self._definitions and not self._definitions[key].fault(value)
        }
        self.current = replace(self.current, values=lawful)

    def _listen(
        self,
        definitions: Sequence[SettingDefinition[Any]],
        listener: Callable[..., None],
        tell: Callable[[Snapshot, Snapshot], None],
    ) -> None:
        if iscoroutinefunction(listener):
            raise TypeError(
                "this is a bug: listeners are called between two steps of the loop and cannot wait"
            )
        fixed = [definition.key for definition in definitions if definition.restart_required]
        if fixed:
            raise TypeError(f"this is a bug: {fixed[0]} does not change while a process runs")
        self.use(definitions)
        self._listeners.append(_Listener(frozenset(item.key for item in definitions), tell))

    def _judge(self, definition: SettingDefinition[Any], value: object) -> str:
        mark = fingerprint(value)
        judged, why = self._judged.get(definition.key, ("", ""))
        if judged != mark:
            why = definition.fault(value)
            self._judged[definition.key] = mark, why
            if why:
                logger.bind(key=definition.key, reason=why).warning("value of a setting is refused")
        return why

    def _tell(self, before: Snapshot) -> None:
        told: list[_Listener] = []
        for listener in tuple(self._listeners):
            changed = self._changed(listener.keys, before)
            if not changed:
                continue
            try:
                listener.tell(before, self.current)
            except Exception as error:  # whatever it is, the process goes on with what it had
                self._refuse(changed, before, _reason(error), told)
            else:
                told.append(listener)

    def _refuse(self, keys: frozenset[str], before: Snapshot, why: str, told: Sequence[_Listener]) -> None:
        logger.bind(keys=sorted(keys), reason=why).warning("values of settings are refused")
        tried, values = self.current, dict(self.current.values)
        for key in keys:
            self._judged[key] = fingerprint(values[key]), why
            values[key] = before.values.get(key, self._definitions[key].default)
        self.current = replace(tried, values=values)
        for listener in reversed(told):
            if listener.keys & keys:
                try:
                    listener.tell(tried, self.current)
                except Exception as error:  # it has told us nothing that we could still undo
                    logger.bind(keys=sorted(keys), reason=_reason(error)).error("setting not taken back")

    def _changed(self, keys: frozenset[str], before: Snapshot) -> frozenset[str]:
        def differs(key: str) -> bool:
            default = self._definitions[key].default
            old, new = before.values.get(key, default), self.current.values.get(key, default)
            return fingerprint(old) != fingerprint(new)

        return frozenset(key for key in keys if differs(key))

    def _default(self, key: str, otherwise: object) -> object:
        definition = self._definitions.get(key)
        return otherwise if definition is None else definition.default


def _reason(error: Exception) -> str:
    """Only a text that was written for an operator travels; others may quote the value."""
    text = str(error) if isinstance(error, SettingRefused) else ""
    return (text or f"the service failed on it ({type(error).__name__})")[:MAX_REASON_CHARS]
