"""Settings as a whole: how two revisions differ, all values as a file, and a file as one revision.

An import is planned like any change, key by key, and done in one revision or not at all. What the file says and what is in force
already is left alone, so that a file that was exported changes nothing, defaults included. A dry run plans the same and writes nothing.
Files are read and written in a thread: a megabyte takes a second in which watchers must not wait.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mesh.errors import FieldViolation, InvalidArgument, MeshError
from services.configuration.domain import yaml_file
from services.configuration.domain.changes import Author, Cause, SettingChange
from services.configuration.domain.comparison import Difference, as_differences, differences
from services.configuration.domain.position import require_kept
from services.configuration.domain.setting import Setting, Wish, plan, unknown
from services.configuration.domain.settings_book import Announce, SettingsBook
from services.configuration.domain.values import Stored, same
from services.configuration.domain.yaml_file import Entry, NotSettings
from services.configuration.store.ports import Reader, Store

FILE = "yaml"
"""Name of the request's field that holds the file."""
MAX_HINTS = 20
"""Unknown keys that the nearest known ones are looked up for: that takes a millisecond each."""
MAX_VIOLATIONS = 10
"""Named in an error, which travels in a header of a few KiB; a dry run lists all."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file cannot be imported. `key` is empty if the file as a whole is meant; `line` counts from 1, 0 if unknown."""

    key: str
    line: int
    error: MeshError


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two states differ. `hidden` are the keys whose values are not for everyone."""

    differences: tuple[Difference, ...]
    hidden: frozenset[str]
    to_revision: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did or, in a dry run, would do. `revision` is 0 if none was made."""

    differences: tuple[Difference, ...]
    revision: int = 0
    problems: tuple[Problem, ...] = ()
    pending_change_id: str = ""
    """Change that waits for approval instead of a revision."""


@dataclass(frozen=True, slots=True)
class _Plan:
    changes: tuple[SettingChange, ...]
    problems: tuple[Problem, ...]


class TransferBook:
    """Compares, exports and imports."""

    def __init__(self, store: Store, announce: Announce, settings: SettingsBook | None = None) -> None:
        """`settings` brings what is imported into force, or on its way."""
        self._store = store
        self._announce = announce
        self._settings = settings or SettingsBook(store, announce)

    async def compare(self, from_revision: int, to_revision: int) -> Comparison:
        """Differences between two revisions; from 0 means all defaults, to 0 the newest. Raises OutOfRange (REVISION_COMPACTED)."""
        async with self._store.read() as reader:
            head = await reader.log.head()
            upto = to_revision or head.revision
            for revision in {from_revision, to_revision} - {0}:
                require_kept(head, revision)
            first = await reader.log.settings_at(from_revision) if from_revision else {}
            found = differences(first, await reader.log.settings_at(upto))
            known = await reader.settings.among([item.key for item in found])
        hidden = {item.key for item in found if item.key not in known or known[item.key].definition.sensitive}
        return Comparison(found, frozenset(hidden), upto)

    async def export(self, *, include_defaults: bool) -> str:
        """All values as a file, without sensitive ones."""
        async with self._store.read() as reader:
            revision = (await reader.log.head()).revision
            settings = await reader.settings.all()
        return await asyncio.to_thread(
            yaml_file.write,
            [
                (setting.definition.key, setting.value, setting.stored is None)
                for setting in settings
                if not setting.definition.sensitive and (include_defaults or setting.stored is not None)
            ],
            revision,
        )

    async def check(self, text: str, *, reset_others: bool) -> Imported:
        """What importing the file would do, and everything that stands against it."""
        try:
            entries = await asyncio.to_thread(yaml_file.read, text)
        except NotSettings as fault:
            return Imported((), problems=(Problem("", fault.line, _unreadable(fault)),))
        async with self._store.read() as reader:
            todo = await _plan(reader, entries, reset_others=reset_others)
            held = await self._settings.held(reader, todo.changes)
        lines = {entry.key: entry.line for entry in entries}
        taken = tuple(Problem(key, lines.get(key, 0), error) for key, error in held)
        return Imported(as_differences(todo.changes), problems=todo.problems + taken)

    async def bring(self, text: str, *, reset_others: bool, author: Author) -> Imported:
        """Import the file, all or nothing. Raises what the first problem is, its violations naming all of them."""
        try:
            entries = await asyncio.to_thread(yaml_file.read, text)
        except NotSettings as fault:
            raise _unreadable(fault) from None
        async with self._store.write() as writer:
            todo = await _plan(writer, entries, reset_others=reset_others)
            if todo.problems:
                raise _together(todo.problems)
            put = await self._settings.put(writer, todo.changes, author)
        if put.made is not None:
            self._announce(put.made.revision)
        return Imported(
            as_differences(todo.changes),
            put.made.revision if put.made else 0,
            pending_change_id=put.pending.id if put.pending else "",
        )


async def _plan(reader: Reader, entries: Sequence[Entry], *, reset_others: bool) -> _Plan:
    known = {setting.definition.key: setting for setting in await reader.settings.all()}
    changes: list[SettingChange] = []
    problems: list[Problem] = []
    hints = MAX_HINTS
    wanted = [(entry.key, Stored(entry.value), entry.line) for entry in entries]
    named = {entry.key for entry in entries}
    others: list[tuple[str, Stored | None, int]] = [
        (key, None, 0)
        for key, setting in sorted(known.items())
        if reset_others and key not in named and not setting.definition.sensitive
    ]
    for key, stored, line in [*wanted, *others]:
        try:
            setting = known.get(key)
            if setting is None:
                hints -= 1
                raise unknown(key, known if hints >= 0 else ())
            change = (
                None if _in_force(setting, stored) else plan(setting, Wish(key, stored), Cause.IMPORT, key)
            )
        except MeshError as error:
            problems.append(Problem(key, line, error))
        else:
            changes += [change] if change else []
    return _Plan(tuple(changes), tuple(problems))


def _in_force(setting: Setting, wanted: Stored | None) -> bool:
    """Whether nothing is left to do: a default that the file spells out is not stored for that."""
    return same(wanted, setting.stored) or (wanted is not None and same(wanted, Stored(setting.value)))


def _unreadable(fault: NotSettings) -> InvalidArgument:
    where = f"line {fault.line}: " if fault.line else ""
    return InvalidArgument("INVALID_FIELD", f"{where}{fault.reason}", field=FILE)


def _together(problems: Sequence[Problem]) -> MeshError:
    """The first problem's error, with the violations of all; each says in which line it is."""
    first = problems[0].error
    violations = [
        FieldViolation(
            violation.field,
            f"line {problem.line}: {violation.description}" if problem.line else violation.description,
        )
        for problem in problems
        for violation in (problem.error.violations or [FieldViolation(problem.key, problem.error.message)])
    ]
    left = len(violations) - MAX_VIOLATIONS
    message = (
        first.message if left <= 0 else f"{first.message}; a dry run lists what else is wrong ({left} more)"
    )
    return type(first)(first.reason, message, violations=violations[:MAX_VIOLATIONS], metadata=first.metadata)
