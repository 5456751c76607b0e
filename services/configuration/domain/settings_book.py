"""What can be done to settings: each use is one transaction under the writer's lock, and at most one revision."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from mesh.errors import FailedPrecondition, FieldViolation, MeshError
from services.configuration.domain.change_book import Put, Terms, ask, held
from services.configuration.domain.changes import (
    Author,
    Cause,
    Change,
    DefinitionChange,
    SettingChange,
    StagingChange,
    Transaction,
)
from services.configuration.domain.definition import Definition, check_definition, release_order, replaces
from services.configuration.domain.filter import SettingFilter
from services.configuration.domain.position import require_kept
from services.configuration.domain.rollout_plan import RolloutPlan
from services.configuration.domain.setting import Setting, Wish, holds, plan, unknown
from services.configuration.store.ports import Reader, Store, Writer

Announce = Callable[[int], None]
"""Told the number of a revision once it is committed. Must not block or raise."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What declaring definitions does: changes to make, stored values that break their new law, and releases to note."""

    changes: tuple[Change, ...]
    invalid_keys: tuple[str, ...]
    confirmed: tuple[Definition, ...]
    """Same law as before, declared by a newer release."""


class SettingsBook:
    """Settings and their definitions."""

    def __init__(self, store: Store, announce: Announce, terms: Terms | None = None) -> None:
        self._store = store
        self._announce = announce
        self._terms = terms or Terms()

    async def get(self, key: str) -> Setting:
        """Raises NotFound (SETTING_NOT_FOUND) with the nearest known keys."""
        async with self._store.read() as reader:
            return await _required(reader, key)

    async def page(self, after: str, limit: int, wanted: SettingFilter) -> tuple[Sequence[Setting], int]:
        """Settings after a key, ascending, and the revision that they show."""
        async with self._store.read() as reader:
            revision = (await reader.log.head()).revision
            return await reader.settings.page(after, limit, wanted), revision

    async def history(
        self, key: str, before: tuple[int, str] | None, limit: int
    ) -> tuple[Sequence[tuple[Transaction, SettingChange]], dict[str, Setting]]:
        """Changes of one setting (of all if `key` is empty), newest first, and the settings concerned as they are now."""
        async with self._store.read() as reader:
            if key:
                await _required(reader, key)
            entries = await reader.log.setting_history(key, before, limit)
            return entries, await reader.settings.among({change.key for _, change in entries})

    async def sensitive_among(self, keys: Collection[str]) -> frozenset[str]:
        """Those of `keys` whose values are not for everyone, or that nobody defines any more."""
        async with self._store.read() as reader:
            known = await reader.settings.among(keys)
        return frozenset(key for key in keys if key not in known or known[key].definition.sensitive)

    async def put(
        self,
        writer: Writer,
        changes: Sequence[SettingChange],
        author: Author,
        steps: RolloutPlan | None = None,
    ) -> Put:
        """Put planned changes into force or on their way: the one door for every change of values. Raises what `ask` does."""
        return await ask(writer, changes, author, steps, self._terms)

    async def held(
        self, reader: Reader, changes: Sequence[SettingChange]
    ) -> Sequence[tuple[str, FailedPrecondition]]:
        """Why `put` would not take the changes, by the settings that are part of another change. Empty: it would."""
        return await held(reader, changes, self._terms)

    async def change(self, wish: Wish, author: Author, steps: RolloutPlan | None = None) -> Setting:
        """Store or reset one value, or set it on its way. Raises what `plan` and `put` do, or NotFound."""
        async with self._store.write() as writer:
            setting = await _required(writer, wish.key)
            change = plan(setting, wish, _cause(wish))
            put = await self.put(writer, [change] if change else [], author, steps)
            result = await _required(writer, wish.key)
        self._tell(put.made)
        return result

    async def change_all(
        self, wishes: Sequence[Wish], author: Author, steps: RolloutPlan | None = None
    ) -> tuple[list[Setting], int]:
        """Store or reset several values, or none. Returns the settings in the order of the wishes, and the revision that brought
        them into force or 0.

        Raises what the first refused wish would; its violations name every refused wish as `updates[i]`.
        """
        keys = [wish.key for wish in wishes]
        async with self._store.write() as writer:
            known = await writer.settings.among(keys)
            names = [] if len(known) == len(keys) else await writer.settings.keys()
            changes = _plan_all(wishes, known, names)
            put = await self.put(writer, changes, author, steps)
            after = await writer.settings.among(keys)
        self._tell(put.made)
        in_force = put.made.revision if put.made and not put.pending else 0
        return [after[key] for key in keys], in_force

    async def rollback(self, key: str, revision: int, etag: str, author: Author) -> Setting:
        """Give a setting the value it had after `revision`, by a new revision. Raises OutOfRange, NotFound, or what `plan` does."""
        async with self._store.write() as writer:
            setting = await _required(writer, key)
            require_kept(writer.head, revision)
            then = await writer.log.setting_at(key, revision)
            change = plan(setting, Wish(key, then, etag), Cause.ROLLBACK, field="revision")
            put = await self.put(writer, [change] if change else [], author)
            result = await _required(writer, key)
        self._tell(put.made)
        return result

    async def register(self, definitions: Sequence[Definition], author: Author) -> tuple[int, Sequence[str]]:
        """Declare definitions. Returns the revision from which they are in force, and the keys whose stored value had to go.

        Raises InvalidArgument for a definition that is none. A repeat writes nothing and waits for no lock.
        """
        for index, definition in enumerate(definitions):
            check_definition(definition, f"definitions[{index}]")
        keys = [definition.key for definition in definitions]
        async with self._store.read() as reader:
            todo = plan_registration(definitions, await reader.settings.among(keys))
            revision = (await reader.log.head()).revision
        if not todo.changes and not todo.confirmed:
            return revision, ()
        async with self._store.write() as writer:
            todo = plan_registration(definitions, await writer.settings.among(keys))
            for definition in todo.confirmed:
                await writer.settings.note_release(definition)
            made = await writer.append(todo.changes, author) if todo.changes else None
            revision = writer.head.revision
        self._tell(made)
        return made.revision if made else revision, todo.invalid_keys

    def _tell(self, made: Transaction | None) -> None:
        if made is not None:
            self._announce(made.revision)


def plan_registration(definitions: Sequence[Definition], known: dict[str, Setting]) -> Registration:
    """What declaring `definitions` over `known` does. A stored value that breaks its new law is reset in the same revision."""
    changes: list[Change] = []
    invalid: list[str] = []
    confirmed: list[Definition] = []
    for definition in definitions:
        setting = known.get(definition.key, Setting(definition))
        old = setting.definition if definition.key in known else None
        if not replaces(definition, old):
            if old is not None and release_order(definition.release) > release_order(old.release):
                confirmed.append(definition)
            continue
        valid = holds(definition, setting.stored)
        stored = setting.stored if valid else None
        effective = definition.default if stored is None else stored.value
        changes.append(DefinitionChange(old, definition, effective, setting.revision))
        if not valid:
            reset = SettingChange(
                definition.key, setting.stored, None, effective, Cause.RESET, definition.sensitive
            )
            changes.append(reset)
            invalid.append(definition.key)
        if setting.staged is not None:
            told = setting.revision if valid else None
            changes.append(
                StagingChange(
                    definition.key,
                    setting.staged,
                    setting.staged,
                    effective,
                    told,
                    Cause.DEFINE,
                    definition.sensitive,
                )
            )
    return Registration(tuple(changes), tuple(sorted(invalid)), tuple(confirmed))


def _plan_all(wishes: Sequence[Wish], known: dict[str, Setting], names: Sequence[str]) -> list[SettingChange]:
    changes: list[SettingChange] = []
    refused: list[tuple[str, MeshError]] = []
    for index, wish in enumerate(wishes):
        field = f"updates[{index}]"
        try:
            setting = known.get(wish.key)
            if setting is None:
                raise unknown(wish.key, names)
            change = plan(setting, wish, _cause(wish), f"{field}.value")
        except MeshError as error:
            refused.append((field, error))
        else:
            changes += [change] if change else []
    if refused:
        raise _together(refused)
    return changes


def _together(refused: Sequence[tuple[str, MeshError]]) -> MeshError:
    """The first refusal, with the violations of all."""
    first = refused[0][1]
    violations = [
        violation
        for field, error in refused
        for violation in (
            [v for v in error.violations if v.field.startswith(field)]
            or [FieldViolation(field, error.message)]
        )
    ]
    return type(first)(first.reason, first.message, violations=violations, metadata=first.metadata)


def _cause(wish: Wish) -> Cause:
    return Cause.RESET if wish.stored is None else Cause.UPDATE


async def _required(reader: Reader, key: str) -> Setting:
    setting = await reader.settings.get(key)
    if setting is None:
        raise unknown(key, await reader.settings.keys())
    return setting
