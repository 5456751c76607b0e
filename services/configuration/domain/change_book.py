"""What can be done to changes on their way. Each use is one transaction under the writer's lock, and at most one revision.

`ask` decides whether planned changes come into force at once, wait for a second person, or begin a roll-out. What happens later without
a call (`advance`, `revert`) reads the change again under the lock: whoever comes second, in whichever replica, finds nothing to do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from mesh.clock import SystemClock
from mesh.errors import FailedPrecondition, NotFound
from mesh.ids import new_id
from services.configuration.domain import events
from services.configuration.domain.changes import (
    Author,
    Cause,
    Change,
    SettingChange,
    StagingChange,
    Transaction,
)
from services.configuration.domain.pending import (
    Event,
    Item,
    PendingChange,
    State,
    advanced,
    already,
    begun,
    completed,
    decided,
    expired,
    next_event,
    reverted,
)
from services.configuration.domain.rollout_plan import RolloutPlan, Staged, check_plan
from services.configuration.domain.setting import Setting, check_value, holds
from services.configuration.store.ports import Reader, Store, Writer

APPROVAL_LIFETIME = timedelta(days=7)
MAX_OUTCOME_CHARS = 500
"""As long as a reason that a person gives."""
SELF = "service:configuration"

Known = Mapping[str, Setting]


@dataclass(frozen=True, slots=True)
class Terms:
    """Time and names, as arguments; and how long a change waits for a decision."""

    now: Callable[[], datetime] = field(default_factory=lambda: SystemClock().now)
    new_id: Callable[[], str] = new_id
    approval_lifetime: Callable[[], timedelta] = lambda: APPROVAL_LIFETIME


@dataclass(frozen=True, slots=True)
class Put:
    """What became of planned changes: a revision at once, or a change on its way (which may have `made` its first step)."""

    made: Transaction | None = None
    pending: PendingChange | None = None


async def ask(
    writer: Writer, changes: Sequence[SettingChange], author: Author, plan: RolloutPlan | None, terms: Terms
) -> Put:
    """Put planned changes into force or on their way, as a whole. None at all are no error.

    If one of the settings needs an approval, all wait for it. Asking for what is on its way already answers that. Raises
    FailedPrecondition (INVALID_STATE) if one of the settings is part of another change, InvalidArgument for a plan that is none.
    """
    if plan is not None:
        check_plan(plan)
    if not changes:
        return Put()
    known = await writer.settings.among({change.key for change in changes})
    waits = any(setting.definition.approval_required for setting in known.values())
    held = {setting.pending_change_id for setting in known.values() if setting.pending_change_id}
    if not held and not waits and plan is None:
        return Put(made=await writer.append(changes, author))
    asked = _asked(changes, known, author, plan, terms)
    if held:
        return Put(pending=await _that_one(writer, held, asked))
    await writer.hold(asked)
    if waits:
        expire_time = asked.create_time + terms.approval_lifetime()
        asked = replace(asked, expire_time=expire_time, next_time=expire_time)
        await writer.keep(asked)
        return Put(pending=asked)
    pending, made = await _begin(writer, asked, known, asked.create_time)
    return Put(made, pending)


async def held(
    reader: Reader, changes: Sequence[SettingChange], terms: Terms
) -> Sequence[tuple[str, FailedPrecondition]]:
    """Why `ask` would refuse the changes, by the settings that are part of another one. Empty: it would take them."""
    known = await reader.settings.among({change.key for change in changes})
    taken = {key: setting for key, setting in known.items() if setting.pending_change_id}
    if not taken:
        return ()
    asked = _asked(changes, known, Author(SELF), None, terms)
    try:
        await _that_one(reader, {setting.pending_change_id for setting in taken.values()}, asked)
    except FailedPrecondition as error:
        return [(key, error) for key in sorted(taken)]
    return ()


class ChangeBook:
    """Changes on their way."""

    def __init__(self, store: Store, announce: Callable[[int], None], terms: Terms | None = None) -> None:
        self._store = store
        self._announce = announce
        self._terms = terms or Terms()

    async def get(self, change_id: str) -> PendingChange:
        """Raises NotFound (SETTING_CHANGE_NOT_FOUND)."""
        async with self._store.read() as reader:
            return await _required(reader, change_id)

    async def page(self, before: str, limit: int, state: State | None) -> Sequence[PendingChange]:
        """Newest first, from the first id below `before`; in one state, or in any if it is None."""
        async with self._store.read() as reader:
            return await reader.pending.page(before, limit, state)

    async def driven(self, limit: int) -> Sequence[PendingChange]:
        """Those that roll out, and those whose time has come."""
        async with self._store.read() as reader:
            return await reader.pending.driven(self._terms.now(), limit)

    async def approve(self, change_id: str, person: str) -> PendingChange:
        """Let it take effect; one that was approved already is answered as it is.

        Raises NotFound, PermissionDenied (SELF_APPROVAL_REFUSED), FailedPrecondition, Aborted (ETAG_MISMATCH), or InvalidArgument if
        a value breaks today's definition.
        """
        async with self._store.write() as writer:
            change, now = await _required(writer, change_id), self._terms.now()
            if already(change, change.approval):
                return change
            known = await writer.settings.among(change.keys)
            changed = _changed(change, known)
            result = decided(change, change.approval, now=now, person=person, unchanged=not changed)
            for item in change.items:
                if item.new is not None:
                    check_value(known[item.key].definition, item.new.value, item.key)
            if result.plan is not None:
                result, made = await _begin(writer, result, known, now)
            else:
                made = await writer.append(_in_force(result, known), result.author)
                result = replace(result, revision=made.revision)
                await writer.keep(result)
        self._announce(made.revision)
        return result

    async def reject(self, change_id: str, person: str, reason: str) -> PendingChange:
        """Turn it down, or take it back while it rolls out; one that was is answered as it is. Raises NotFound, FailedPrecondition."""
        made: Transaction | None = None
        async with self._store.write() as writer:
            change = await _required(writer, change_id)
            event = Event.STOP if change.state is State.ROLLING_OUT else Event.REJECT
            if already(change, event):
                return change
            result = decided(change, event, now=self._terms.now(), person=person, outcome=reason)
            if event is Event.STOP:
                made = await _take_back(writer, change, Author(person, reason))
                result = replace(result, revision=made.revision)
            await writer.keep(result)
        if made is not None:
            self._announce(made.revision)
        return result

    async def advance(self, change_id: str) -> PendingChange | None:
        """What comes of a change by itself, if its time has come; None if it has not, or not any more."""
        made: Transaction | None = None
        async with self._store.write() as writer:
            change, now = await _required(writer, change_id), self._terms.now()
            if change.next_time is None or change.next_time > now:
                return None
            event = next_event(change)
            known = await writer.settings.among(change.keys)
            broken = _broken(change, known)
            if event is Event.EXPIRE:
                result = expired(change, now=now)
                await writer.keep(result)
                await _note(writer, events.EXPIRED, change_id)
            elif broken:
                result, made = await _revert(writer, change, Event.BREAK, broken, now)
            elif event is Event.ADVANCE:
                result, made = await _next_step(writer, change, known, now)
            else:
                result, made = await _complete(writer, change, known, now)
        if made is not None:
            self._announce(made.revision)
        return result

    async def revert(self, change_id: str, event: Event, outcome: str) -> PendingChange | None:
        """Take back what rolls out, because of a refusal or the guard; None if it does not roll out any more."""
        async with self._store.write() as writer:
            change = await _required(writer, change_id)
            if change.state is not State.ROLLING_OUT:
                return None
            result, made = await _revert(writer, change, event, outcome, self._terms.now())
        self._announce(made.revision)
        return result


async def _begin(
    writer: Writer, change: PendingChange, known: Known, now: datetime
) -> tuple[PendingChange, Transaction]:
    made = await writer.append(_staging(change, known, change.steps_left[0]), change.author)
    result = begun(change, now=now, revision=made.revision)
    await writer.keep(result)
    return result, made


async def _next_step(
    writer: Writer, change: PendingChange, known: Known, now: datetime
) -> tuple[PendingChange, Transaction]:
    result = advanced(change, now=now)
    made = await writer.append(_staging(change, known, result.share_percent), change.author)
    await writer.keep(result)
    await _note(writer, events.ADVANCED, change.id)
    return result, made


async def _complete(
    writer: Writer, change: PendingChange, known: Known, now: datetime
) -> tuple[PendingChange, Transaction]:
    made = await writer.append(_in_force(change, known, Cause.ROLLOUT_COMPLETED), change.author)
    result = completed(change, now=now, revision=made.revision)
    await writer.keep(result)
    await _note(writer, events.COMPLETED, change.id)
    return result, made


async def _revert(
    writer: Writer, change: PendingChange, event: Event, outcome: str, now: datetime
) -> tuple[PendingChange, Transaction]:
    outcome = outcome[:MAX_OUTCOME_CHARS]
    made = await _take_back(writer, change, Author(SELF, outcome))
    result = replace(reverted(change, event, now=now, outcome=outcome), revision=made.revision)
    await writer.keep(result)
    await _note(writer, events.REVERTED, change.id, warning=True)
    return result, made


async def _take_back(writer: Writer, change: PendingChange, author: Author) -> Transaction:
    """The revision after which nobody has the new values; the history of each setting shows it."""
    known = await writer.settings.among(change.keys)
    cause = Cause.ROLLOUT_REVERTED
    changes: list[Change] = []
    for key, setting in known.items():
        stored, value, sensitive = setting.stored, setting.value, setting.definition.sensitive
        changes.append(SettingChange(key, stored, stored, value, cause, sensitive))
        changes.append(StagingChange(key, setting.staged, None, value, setting.revision, cause, sensitive))
    return await writer.append(changes, author)


async def _that_one(reader: Reader, held: set[str], asked: PendingChange) -> PendingChange:
    """The change that is on its way, if it is what is asked for. Raises FailedPrecondition."""
    holder = min(held)
    change = await reader.pending.get(holder)
    if change is None or len(held) > 1 or not change.asks_for(asked):
        raise FailedPrecondition(
            "INVALID_STATE",
            "another change of the setting waits for approval or rolls out; approve or reject it first",
            metadata={"changeId": holder},
        )
    return change


async def _required(reader: Reader, change_id: str) -> PendingChange:
    change = await reader.pending.get(change_id)
    if change is None:
        raise NotFound(
            "SETTING_CHANGE_NOT_FOUND", "no such change of settings", metadata={"changeId": change_id}
        )
    return change


async def _note(writer: Writer, action: str, change_id: str, *, warning: bool = False) -> None:
    await writer.note(events.Event(action, f"settingChanges/{change_id}", warning))


def _asked(
    changes: Sequence[SettingChange], known: Known, author: Author, plan: RolloutPlan | None, terms: Terms
) -> PendingChange:
    now = terms.now()
    items = tuple(
        Item(change.key, change.old, change.new, change.cause, known[change.key].revision)
        for change in sorted(changes, key=lambda change: change.key)
    )
    return PendingChange(
        id=terms.new_id(),
        state=State.PENDING_APPROVAL,
        items=items,
        actor=author.actor,
        comment=author.comment,
        create_time=now,
        update_time=now,
        plan=plan,
    )


def _staging(change: PendingChange, known: Known, share_percent: int) -> list[Change]:
    return [
        StagingChange(
            item.key,
            known[item.key].staged,
            Staged(item.new, share_percent, change.id),
            known[item.key].value,
            known[item.key].revision,
            sensitive=known[item.key].definition.sensitive,
        )
        for item in change.items
    ]


def _in_force(change: PendingChange, known: Known, cause: Cause | None = None) -> list[SettingChange]:
    return [
        SettingChange(
            item.key,
            known[item.key].stored,
            item.new,
            known[item.key].definition.default if item.new is None else item.new.value,
            cause or item.cause,
            known[item.key].definition.sensitive,
        )
        for item in change.items
    ]


def _changed(change: PendingChange, known: Known) -> str:
    """The first setting that is not as it was when the change was asked for; empty if all are."""
    for item in change.items:
        if item.key not in known or known[item.key].revision != item.base_revision:
            return item.key
    return ""


def _broken(change: PendingChange, known: Known) -> str:
    """Why the change cannot go on, because of what a release declared meanwhile; empty if it can."""
    if changed := _changed(change, known):
        return f"{changed} was reset by a new definition meanwhile"
    for item in change.items:
        if not holds(known[item.key].definition, item.new):
            return f"the new value of {item.key} breaks its definition by now"
    return ""
