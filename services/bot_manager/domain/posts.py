"""Use cases of posts: make, find, change, decide on, call off, try again, tell the story. What they write is said in `domain/rules.py` and
`domain/approving.py`.

What is rendered and checked before it is written was read without a lock, since that asks others; it is written only onto the version
that was read, so that nothing unchecked is stored.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Final

from mesh.clock import Clock
from mesh.errors import Aborted, FailedPrecondition, ResourceExhausted
from services.bot_manager.domain import approving, rules
from services.bot_manager.domain.bots import max_lateness
from services.bot_manager.domain.lifecycle import PostEvent, next_state
from services.bot_manager.domain.listing import Page, Query
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import (
    Bot,
    BotState,
    Change,
    Decision,
    Origin,
    Post,
    PostState,
    StoredEntry,
)
from services.bot_manager.domain.pacing import Pace
from services.bot_manager.domain.slots import Diary, SlotFinder, Taken
from services.bot_manager.domain.versions import check_etag
from services.bot_manager.store.ports import BotStore, PostStore, RequestKey, SlotTaken

SLOT_TRIES: Final = 50
"""Each that fails means that another post got a slot."""


class When(Enum):
    """When a new post goes out."""

    AT_ITS_TIME = auto()
    """As its draft says: not at all without a time."""
    NOW = auto()
    NEXT_FREE_SLOT = auto()


TRIES: Final = 5
"""How often a change is planned anew because others were faster."""


class Posts:
    """See the module. `lateness` is the setting `bot_manager.publish.max_lateness` of the moment."""

    def __init__(
        self,
        store: PostStore,
        bots: BotStore,
        clock: Clock,
        new_id: Callable[[], str],
        lateness: Callable[[], timedelta],
        maker: Maker,
    ) -> None:
        self._store = store
        self._bots = bots
        self._clock = clock
        self._new_id = new_id
        self._lateness = lateness
        self._maker = maker
        self._slots = SlotFinder(store)

    async def create(
        self,
        bot_id: str,
        draft: rules.Draft,
        actor: str,
        key: RequestKey | None,
        when: When = When.AT_ITS_TIME,
    ) -> Post:
        """A post that goes out at its time, at once or in the bot's next free slot; without any of these, a draft.

        A repeat with the same key answers the first result, even if its time has passed meanwhile. Raises InvalidArgument
        (INVALID_FIELD, CONFLICTING_FIELD, TIME_IN_PAST, IDEMPOTENCY_KEY_REUSED), NotFound, FailedPrecondition, ResourceExhausted.
        """
        moment = self._clock.now()
        first = await self._store.recall(key, moment) if key else None
        if first is not None:
            return first
        bot = await self._bots.get(bot_id)
        check_not_archived(bot)
        post = rules.new_post(self._new_id(), bot_id, draft, actor, moment)
        at_once = when is When.NOW
        if at_once:
            _check_active(bot)
        elif draft.scheduled_time is not None:
            rules.check_time(draft.scheduled_time, moment, "post.scheduled_time")
        if when is When.NEXT_FREE_SLOT:
            return await self._create_in_slot(bot, post, key, moment)
        scheduled = moment if at_once else draft.scheduled_time
        change = await self._made(bot, post, scheduled, moment, at_once=at_once)
        return await self._store.create(change.post, change.entries, key)

    async def _create_in_slot(self, bot: Bot, post: Post, key: RequestKey | None, now: datetime) -> Post:
        """The post in the bot's next free slot, which the store gives to one post only; whoever comes second looks again."""
        pace, parts = Pace.of(bot), len(post.parts)
        for _ in range(SLOT_TRIES):
            slot = await self._slots.next_free(bot, now, parts)
            change = await self._made(bot, post, slot, now)
            with suppress(SlotTaken):
                return await self._store.create(
                    change.post,
                    change.entries,
                    key,
                    partial(_has_room, pace=pace, slot=slot, parts=parts),
                )
        raise ResourceExhausted(
            "OVERLOADED", "too many posts ask for slots of this bot at once", retry_after=timedelta(seconds=1)
        )

    async def _made(
        self, bot: Bot, post: Post, scheduled: datetime | None, now: datetime, *, at_once: bool = False
    ) -> Change:
        """The post rendered, inspected, and with its time, or waiting for a second person."""
        post = await self._maker.ready(bot, post, scheduled, now, {})
        waits = approving.needed(bot, post.origin)
        return rules.create(post, scheduled, self._late(bot), waits=waits, at_once=at_once)

    async def get(self, post_id: str) -> Post:
        """Raises NotFound (POST_NOT_FOUND)."""
        return await self._store.get(post_id)

    async def list(self, query: Query, bot_id: str) -> Page[Post]:
        """A page of posts. Raises NotFound (BOT_NOT_FOUND) for a bot that is asked for and does not exist."""
        if bot_id:
            await self._bots.get(bot_id)
        return await self._store.list(query)

    async def update(
        self, post_id: str, etag: str, describe: Callable[[Post], rules.Draft], actor: str
    ) -> Post:
        """Change what `describe` says. Raises Aborted, FailedPrecondition, InvalidArgument, and as `Maker.ready`."""

        async def plan(seen: Post) -> Change:
            now, bot = self._clock.now(), await self._bots.get(seen.bot_id)
            next_state(seen.state, PostEvent.EDIT)
            revised = rules.revise(seen, describe(seen), now, self._late(bot))
            at = None if revised.state is PostState.DRAFT else revised.scheduled_time
            made = await self._remade(bot, seen, revised, at, now)
            return rules.edited(seen, made, actor, waits=approving.needed(bot, seen.origin))

        return await self._change(post_id, etag, plan)

    async def delete(self, post_id: str, etag: str) -> None:
        """Raises NotFound, Aborted, FailedPrecondition (INVALID_STATE) while X may be hearing of it."""

        def check(post: Post) -> None:
            check_etag(etag, post.version)
            next_state(post.state, PostEvent.DELETE)

        await self._store.delete(post_id, check, self._clock.now())

    async def cancel(self, post_id: str, etag: str, actor: str, reason: str) -> Post:
        """Call off. Raises NotFound, Aborted, FailedPrecondition (INVALID_STATE)."""

        def edit(post: Post) -> Change:
            check_etag(etag, post.version)
            return rules.cancel(post, actor, reason)

        return await self._store.change(post_id, edit, self._clock.now())

    async def retry(
        self, post_id: str, etag: str, scheduled: datetime | None, actor: str, key: RequestKey | None
    ) -> Post:
        """Try again, at a time or at once. Raises NotFound, Aborted, FailedPrecondition, InvalidArgument (TIME_IN_PAST)."""
        now = self._clock.now()
        first = await self._store.recall(key, now) if key else None
        if first is not None:
            return first
        if scheduled is not None:
            rules.check_time(scheduled, now, "scheduled_time")

        async def plan(seen: Post) -> Change:
            now, bot = self._clock.now(), await self._bots.get(seen.bot_id)
            check_not_archived(bot)
            next_state(seen.state, PostEvent.RETRY)
            at = scheduled or now
            made = await self._remade(bot, seen, seen, at, now)
            if rules.said(made) != rules.said(seen):
                made = replace(made, approval=None)
            waits = approving.needed(bot, seen.origin)
            return rules.retry(made, at, self._late(bot), actor, waits=waits, at_once=scheduled is None)

        try:
            return await self._change(post_id, etag, plan, key)
        except (FailedPrecondition, Aborted):
            # The same request may have been served a moment ago.
            first = await self._store.recall(key, now) if key else None
            if first is None:
                raise
            return first

    async def approve(self, post_id: str, etag: str, actor: str, comment: str) -> Post:
        """Let a post go that waits for a second person. Raises NotFound, Aborted, PermissionDenied, FailedPrecondition."""
        post = await self._store.get(post_id)
        if approving.has_decided(post, actor, Decision.APPROVED):
            return post

        async def plan(seen: Post) -> Change:
            if approving.has_decided(seen, actor, Decision.APPROVED):
                return Change(seen)
            now, bot = self._clock.now(), await self._bots.get(seen.bot_id)
            change = approving.approve(seen, actor, comment, now, self._late(bot))
            made = await self._maker.still_ready(bot, change.post, change.post.scheduled_time, now)
            return Change(made, (*rules.checked_entries(made.findings, seen.state), *change.entries))

        return await self._change(post_id, etag, plan)

    async def reject(self, post_id: str, etag: str, actor: str, reason: str) -> Post:
        """Send a post back to its author. Raises NotFound, Aborted, FailedPrecondition (INVALID_STATE)."""
        now = self._clock.now()

        def edit(post: Post) -> Change:
            if approving.has_decided(post, actor, Decision.REJECTED):
                return Change(post)
            check_etag(etag, post.version)
            return approving.reject(post, actor, reason, now)

        return await self._store.change(post_id, edit, now)

    async def story(self, post_id: str, after: int, limit: int) -> Sequence[StoredEntry]:
        """Entries with a sequence above `after`, oldest first. Raises NotFound (POST_NOT_FOUND)."""
        await self._store.get(post_id)
        return await self._store.story(post_id, after, limit)

    async def _change(
        self,
        post_id: str,
        etag: str,
        plan: Callable[[Post], Awaitable[Change]],
        key: RequestKey | None = None,
    ) -> Post:
        """What `plan` makes of the post as it was read, if it is still that when it is written; else planned anew, unless an etag forbids."""
        for _ in range(TRIES):
            seen = await self._store.get(post_id)
            check_etag(etag, seen.version)
            change = await plan(seen)
            with suppress(_Moved):
                return await self._store.change(post_id, _guarded(seen, change), self._clock.now(), key)
        raise Aborted("ETAG_MISMATCH", "the post changes all the time; read it again and repeat the change")

    async def _remade(self, bot: Bot, seen: Post, post: Post, at: datetime | None, now: datetime) -> Post:
        """The post rendered and checked. What a schedule wrote is not rendered again: what it was made of is not known any more."""
        if seen.origin is Origin.SCHEDULE and post.parts == seen.parts and post.content == seen.content:
            return await self._maker.still_ready(bot, post, at, now)
        return await self._maker.ready(bot, post, at, now, {})

    def _late(self, bot: Bot) -> timedelta:
        return max_lateness(bot, self._lateness())


def _has_room(taken: Sequence[Taken], pace: Pace, slot: datetime, parts: int) -> bool:
    return Diary(taken).has_room(pace, slot, parts)


class _Moved(Exception):
    """Somebody changed the post between the reading and the writing."""


def _guarded(seen: Post, change: Change) -> Callable[[Post], Change]:
    """The change for the version that it was planned for. Raises _Moved for any other."""

    def edit(post: Post) -> Change:
        if post.version != seen.version:
            raise _Moved
        return change

    return edit


def check_not_archived(bot: Bot) -> None:
    """Raises FailedPrecondition (BOT_ARCHIVED)."""
    if bot.state is BotState.ARCHIVED:
        raise FailedPrecondition("BOT_ARCHIVED", "the bot is archived; it publishes nothing any more")


def _check_active(bot: Bot) -> None:
    """A post now needs a bot that can publish now; one for later may wait for it."""
    if bot.state is BotState.ACTIVE:
        return
    if bot.credentials is None:
        raise FailedPrecondition("CREDENTIALS_MISSING", "the bot has no credentials yet")
    raise FailedPrecondition(
        "INVALID_STATE",
        f"the bot is {bot.state}; only an ACTIVE bot publishes now",
        metadata={"state": bot.state.value, "event": "PUBLISH_NOW"},
    )
