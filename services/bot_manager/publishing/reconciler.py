"""Settles posts of unknown outcome by reading their accounts. Runs in every replica.

    due posts, by bot → the bot's turn → its posts on X since the first lost call → each post, in the order of its call:
        found            adopted; a thread goes on with its next part
        not found        noted, and looked at again, sent again or left to a person, as `domain/reconciling.py` judges

One look serves all posts of a bot that are due, and only one replica looks at an account at a time. Posts of one bot are settled one
after the other; `domain/reconciling.py` tells why that matters. Dying anywhere costs a look at most: nothing is remembered here, and
every step shows the fence under which the outcome was lost.

A bot that is PAUSED is not looked at, since its kill switch promises that no call to X begins; nor is one whose credentials X refuses,
nor any while publishing is switched off.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.context import background_call
from mesh.errors import AlreadyExists, MeshError
from services.bot_manager.domain import story
from services.bot_manager.domain.matching import Shape, asked, shown
from services.bot_manager.domain.model import Bot, Entry, EntryKind, Failure, Part, Post, PostState
from services.bot_manager.domain.reconciling import History, Next, Window, judge
from services.bot_manager.publishing import metrics
from services.bot_manager.publishing.draft import draft_of
from services.bot_manager.publishing.looking import Look, Looker
from services.bot_manager.publishing.settings import PublishSettings
from services.bot_manager.store.ports import PostLedger
from services.bot_manager.store.reconciling import ReconcilingStore
from services.bot_manager.x.port import XPost

BATCH: Final = 500
ACCOUNTS_AT_ONCE: Final = 16
SAME_TEXT: Final = "another post with the same content is being sent this moment"


@dataclass(frozen=True, slots=True)
class _Case:
    """A post to settle: the part in question, what X was asked for, and what became of that so far."""

    post: Post
    part: Part
    shape: Shape
    history: History


@dataclass(frozen=True, slots=True)
class _Account:
    """What one look showed: posts by shape, earliest first; shapes that are being sent; posts on X that belong to a part here."""

    bot: Bot
    look: Look
    window: Window
    by_shape: Mapping[Shape, Sequence[XPost]]
    in_flight: frozenset[Shape]
    taken: set[str]


class Reconciler:
    """`reader` names this process; `wake` is called when a post may be due."""

    def __init__(
        self,
        ledger: PostLedger,
        store: ReconcilingStore,
        looker: Looker,
        reader: str,
        settings: Callable[[], PublishSettings],
        clock: Clock,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._looker = looker
        self._reader = reader
        self._settings = settings
        self._clock = clock
        self._wake = wake

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            settings = self._settings()
            if settings.enabled:
                try:
                    with background_call("bot_manager/reconcile"):
                        await self.reconcile()
                except MeshError as error:
                    logger.bind(reason=error.reason).warning("reconciling waits")
            await self._clock.sleep(settings.tick)

    async def reconcile(self) -> None:
        """One round over all bots. Raises MeshError if the record cannot be reached."""
        due = await self._ledger.unknown_due(self._clock.now(), BATCH)
        bots = list({one.bot.id: one.bot for one in due}.values())
        for start in range(0, len(bots), ACCOUNTS_AT_ONCE):
            await asyncio.gather(*(self._turn(bot) for bot in bots[start : start + ACCOUNTS_AT_ONCE]))

    async def _turn(self, bot: Bot) -> None:
        with background_call("bot_manager/reconcile", bot_id=bot.id):
            try:
                began = await self._store.begin(bot.id, self._reader, self._settings().lease)
                if began is None:
                    return
                try:
                    await self._settle_all(bot, began)
                finally:
                    await self._store.end(bot.id, self._reader)
            except MeshError as error:
                logger.bind(reason=error.reason).warning("reconciling waits")

    async def _settle_all(self, bot: Bot, began: datetime) -> None:
        cases = await self._cases(bot)
        if not cases:
            return
        window = self._settings().window
        look = await self._looker.look(bot, cases[0].history.start_time - window.reach, began)
        metrics.reconcile_reads.labels("clean" if look.clean else "failed").inc()
        account = await self._account(bot, look, window)
        for case in cases:
            await self._settle(account, case)

    async def _account(self, bot: Bot, look: Look, window: Window) -> _Account:
        """Asked after the look, in this order: a call that made what it shows is in flight still, or has told its id by then."""
        in_flight = frozenset(
            _shape(post, part)
            for post in await self._store.being_sent(bot.id)
            if (part := post.next_part) is not None
        )
        taken = await self._store.adopted([seen.x_post_id for seen in look.timeline.posts])
        by_shape: dict[Shape, list[XPost]] = {}
        for seen in sorted(look.timeline.posts, key=lambda seen: (seen.create_time, seen.x_post_id)):
            by_shape.setdefault(shown(seen), []).append(seen)
        return _Account(bot, look, window, by_shape, in_flight, taken)

    async def _cases(self, bot: Bot) -> list[_Case]:
        """The bot's posts that are due, those first whose call was first."""
        due = [one.post for one in await self._ledger.unknown_due(self._clock.now(), BATCH, bot.id)]
        histories = await self._store.histories(due) if due else {}
        cases = [
            _Case(post, part, _shape(post, part), histories[post.id])
            for post in due
            if (part := post.next_part) is not None and post.id in histories
        ]
        return sorted(cases, key=lambda case: (case.history.start_time, case.post.id))

    async def _settle(self, account: _Account, case: _Case) -> None:
        since = case.history.start_time - account.window.reach
        free = [
            seen
            for seen in account.by_shape.get(case.shape, ())
            if seen.create_time >= since and seen.x_post_id not in account.taken
        ]
        if free and case.shape in account.in_flight:
            account = replace(account, look=replace(account.look, failure=SAME_TEXT))
            await self._not_found(account, case, len(free))
            return
        for seen in free:
            account.taken.add(seen.x_post_id)
            if await self._adopt(account, case, len(free), seen):
                return
        await self._not_found(account, case, 0)

    async def _adopt(self, account: _Account, case: _Case, candidates: int, found: XPost) -> bool:
        """Whether that settled the post; not if another part was faster."""
        entry = _entry(account, case, "found on the account", candidates, x_post_id=found.x_post_id)
        post, now = case.post, self._clock.now()
        try:
            after = await self._ledger.adopt(
                post.id, post.claim_fence, case.part.index, found.x_post_id, found.create_time, now, entry
            )
        except AlreadyExists:
            return False
        if after is not None:
            metrics.reconciled.labels("adopted").inc()
            logger.bind(post_id=post.id, x_post_id=found.x_post_id).info("post adopted")
            if after.state is PostState.SCHEDULED:
                self._wake()
        return True

    async def _not_found(self, account: _Account, case: _Case, candidates: int) -> None:
        post, look, now = case.post, account.look, self._clock.now()
        most_lost = self._settings().rules.max_attempts
        verdict = judge(account.bot, case.history, look.clean, look.began, account.window, most_lost)
        log = logger.bind(post_id=post.id, clean=look.clean)
        if verdict.next is Next.SEND_AGAIN:
            entry = _entry(account, case, verdict.message, candidates)
            if await self._ledger.send_again(post.id, post.claim_fence, now, entry):
                metrics.reconciled.labels("sent_again").inc()
                log.warning("post goes out again")
                self._wake()
            return
        failure = again = None
        if verdict.next is Next.ASK:
            failure = Failure("X_OUTCOME_UNKNOWN", verdict.message, now, case.part.index)
        else:
            again = now + max(verdict.pause or timedelta(), look.pause or timedelta())
        entry = _entry(account, case, verdict.message, candidates, next_time=again)
        noted = await self._ledger.note_reconcile(post.id, post.claim_fence, entry, again, now, failure)
        if noted and again is None:
            metrics.reconciled.labels("asked").inc()
            log.warning("a person has to settle the post")


def _shape(post: Post, part: Part) -> Shape:
    """What X is asked for; of media only their number counts."""
    return asked(draft_of(post, part, part.media_ids))


def _entry(
    account: _Account,
    case: _Case,
    message: str,
    candidates: int,
    *,
    x_post_id: str = "",
    next_time: datetime | None = None,
) -> Entry:
    """What the story tells of a look."""
    since = case.history.start_time - account.window.reach
    return Entry(
        EntryKind.RECONCILE_READ,
        message,
        part_index=case.part.index,
        details=story.reconcile_detail(
            case.history.looks + 1,
            posts_seen=sum(seen.create_time >= since for seen in account.look.timeline.posts),
            candidates=candidates,
            x_post_id=x_post_id,
            clean=account.look.clean,
            failure=account.look.failure,
            settle_time=case.history.settle_time(account.window),
            next_time=next_time,
        ),
        state=PostState.UNKNOWN,
    )
