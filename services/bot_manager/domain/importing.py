"""Many posts from a file: the way of `domain/making.py` for each, with what is wrong told by row.

Posts of one file are held against each other as against those that are stored. All are stored in one transaction, or none.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from mesh.clock import Clock
from mesh.errors import MeshError
from services.bot_manager.domain import approving, rules
from services.bot_manager.domain.bots import max_lateness
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import Bot, Change, Origin, Post, Severity
from services.bot_manager.domain.posts import check_not_archived
from services.bot_manager.store.ports import BotStore, RequestKey

TOLD: Final = 1000
"""Errors that are told; beyond, only that there are more shows in the counts."""
TURN: Final = 50
"""Rows that are read before others get their turn."""
_PLACE = re.compile(r"^(?:post\.)?(?:parts\[(\d+)\]\.?)?(.*)$")


@dataclass(frozen=True, slots=True)
class RowError:
    """What is wrong with one row, counted from 1; fields as in the contract."""

    row: int
    field: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A post as a file has it. `rows` are those of its parts, or the one of all of them."""

    rows: tuple[int, ...]
    draft: rules.Draft


@dataclass(frozen=True, slots=True)
class File:
    """A file that could be read. `items` are its posts, each or what is wrong with it, in the order of their first rows."""

    row_count: int
    items: Iterable[Candidate | Sequence[RowError]]


@dataclass(frozen=True, slots=True)
class Result:
    """What an import answers; fields as in the contract."""

    row_count: int
    valid_post_count: int
    post_ids: Sequence[str] = ()
    errors: Sequence[RowError] = ()
    cost_usd_micros: int = 0


class ImportStore(Protocol):
    """Where imports are stored."""

    async def recall(self, key: RequestKey, now: datetime) -> Result | None:
        """What the same request was answered before. Raises InvalidArgument (IDEMPOTENCY_KEY_REUSED)."""
        ...

    async def store(
        self, bot_id: str, made: Sequence[Change], result: Result, key: RequestKey | None, now: datetime
    ) -> Result:
        """Store all posts, and the result for as long as it may be asked for again; or answer the first result of the same request."""
        ...


@dataclass(slots=True)
class _Reading:
    """What has come of a file so far."""

    posts: list[tuple[Candidate, Post, datetime | None]] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Imports:
    """See the module. `lateness` is the setting `bot_manager.publish.max_lateness` of the moment."""

    store: ImportStore
    bots: BotStore
    clock: Clock
    new_id: Callable[[], str]
    lateness: Callable[[], timedelta]
    maker: Maker

    async def run(
        self,
        bot_id: str,
        read: Callable[[str], File],
        actor: str,
        key: RequestKey | None,
        *,
        dry_run: bool,
        partly: bool,
    ) -> Result:
        """Make the posts of a file, which `read` gives by the name of the bot's zone. `partly`: also if rows are wrong.

        Raises NotFound (BOT_NOT_FOUND), FailedPrecondition (BOT_ARCHIVED), InvalidArgument (INVALID_FIELD, IDEMPOTENCY_KEY_REUSED).
        """
        now = self.clock.now()
        first = await self.store.recall(key, now) if key else None
        if first is not None:
            return first
        bot = await self.bots.get(bot_id)
        check_not_archived(bot)
        file = read(bot.time_zone)
        reading = await self._read(bot, file, actor, now)
        made = await self._made(bot, reading, now)
        stored = [] if dry_run or (reading.errors and not partly) else made
        result = Result(
            file.row_count,
            len(made),
            [change.post.id for change in stored],
            sorted(reading.errors, key=lambda error: error.row)[:TOLD],
            sum(change.post.cost_usd_micros for change in made),
        )
        return await self.store.store(bot_id, stored, result, key, now)

    async def _read(self, bot: Bot, file: File, actor: str, now: datetime) -> _Reading:
        """Posts that can be rendered, drafts, and what is wrong with the others."""
        reading = _Reading()
        for count, item in enumerate(file.items, 1):
            if count % TURN == 0:
                await asyncio.sleep(0)
            if not isinstance(item, Candidate):
                reading.errors += item
                continue
            try:
                at = item.draft.scheduled_time
                if at is not None:
                    rules.check_time(at, now, "scheduled_time")
                post = rules.new_post(self.new_id(), bot.id, item.draft, actor, now, Origin.IMPORT)
                reading.posts.append((item, await self._rendered(bot, post, at, now), at))
            except MeshError as error:
                reading.errors += row_errors(item.rows, error)
        return reading

    async def _rendered(self, bot: Bot, post: Post, at: datetime | None, now: datetime) -> Post:
        if at is None:
            return await self.maker.sketched(bot, post, now, {})
        return await self.maker.rendered(bot, post, at, now, {})

    async def _made(self, bot: Bot, reading: _Reading, now: datetime) -> list[Change]:
        """Those that nothing refuses, with the beginning of their stories."""
        found = await self.maker.prospects(bot, [(post, at) for _, post, at in reading.posts], now)
        late, waits = max_lateness(bot, self.lateness()), approving.needed(bot, Origin.IMPORT)
        made = []
        for (item, _, at), post in zip(reading.posts, found, strict=True):
            errors = _refusals(item, post) if at is not None else []
            if errors:
                reading.errors += errors
                continue
            try:
                made.append(rules.create(post, at, late, waits=waits))
            except MeshError as error:
                reading.errors += row_errors(item.rows, error)
        return made


def row_errors(rows: Sequence[int], error: MeshError) -> list[RowError]:
    """The error of a post as those of its rows. Errors of the service itself are no row's: they are raised again."""
    if error.code not in ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"):
        raise error
    if not error.violations:
        return [RowError(rows[0], "", error.reason, error.message)]
    return [
        _located(rows, violation.field, error.reason, violation.description or error.message)
        for violation in error.violations
    ]


def _refusals(item: Candidate, post: Post) -> list[RowError]:
    return [
        _located(
            item.rows,
            f"parts[{finding.part_index}].{finding.field}" if finding.part_index >= 0 else finding.field,
            "POLICY_VIOLATION",
            finding.message,
        )
        for finding in post.findings
        if finding.severity is Severity.ERROR
    ]


def _located(rows: Sequence[int], path: str, reason: str, message: str) -> RowError:
    """By the row of the part that the path names; where one row holds all parts, with the path."""
    found = _PLACE.match(path)
    index, name = (found[1], found[2]) if found else (None, path)
    if index is None:
        return RowError(rows[0], name, reason, message)
    if len(rows) > 1 and int(index) < len(rows):
        return RowError(rows[int(index)], name, reason, message)
    return RowError(rows[0], name if index == "0" else f"parts[{index}].{name}", reason, message)
