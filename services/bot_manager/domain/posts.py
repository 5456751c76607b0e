"""Use cases of posts: make, find, change, call off, try again, tell the story. What they write is said in `domain/rules.py`."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Final

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, ResourceExhausted
from services.bot_manager.domain import rules
from services.bot_manager.domain.bots import max_lateness
from services.bot_manager.domain.lifecycle import PostEvent, next_state
from services.bot_manager.domain.listing import Page, Query
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import Bot, BotState, Change, Post, PostState, StoredEntry
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
        _check_not_archived(bot)
        parts = rules.parts_of(draft)
        if when is When.NOW:
            _check_active(bot)
        elif draft.scheduled_time is not None:
            rules.check_time(draft.scheduled_time, moment, "post.scheduled_time")
        post = Post(
            id=self._new_id(),
            bot_id=bot_id,
            state=PostState.DRAFT,
            parts=parts,
            create_time=moment,
            update_time=moment,
            content=draft.content,
            queue=draft.queue,
            creator=actor,
            latest_publish_time=draft.latest_publish_time,
        )
        if when is When.NEXT_FREE_SLOT:
            return await self._create_in_slot(bot, post, key, moment)
        scheduled = moment if when is When.NOW else draft.scheduled_time
        change = await self._made(bot, post, scheduled, moment)
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

    async def _made(self, bot: Bot, post: Post, scheduled: datetime | None, now: datetime) -> Change:
        """The post rendered, inspected, and with its time."""
        post = await self._maker.ready(bot, post, scheduled, now, {})
        return rules.create(post, scheduled, self._late(bot))

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
        """Change what `describe` says; it sees the post under its lock. Raises Aborted, FailedPrecondition, InvalidArgument."""
        bot = await self._bots.get((await self._store.get(post_id)).bot_id)
        now = self._clock.now()

        def edit(post: Post) -> Change:
            check_etag(etag, post.version)
            next_state(post.state, PostEvent.EDIT)
            return rules.edit(post, describe(post), now, self._late(bot), actor)

        return await self._store.change(post_id, edit, now)

    async def delete(self, post_id: str, etag: str) -> None:
        """Raises NotFound, Aborted, FailedPrecondition (INVALID_STATE) while X may be hearing of it."""

        def check(post: Post) -> None:
            check_etag(etag, post.version)
            next_state(post.state, PostEvent.DELETE)

        await self._store.delete(post_id, check)

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
        bot = await self._bots.get((await self._store.get(post_id)).bot_id)
        _check_not_archived(bot)
        if scheduled is not None:
            rules.check_time(scheduled, now, "scheduled_time")

        def edit(post: Post) -> Change:
            check_etag(etag, post.version)
            return rules.retry(post, scheduled or now, self._late(bot), actor)

        return await self._store.change(post_id, edit, now, key)

    async def story(self, post_id: str, after: int, limit: int) -> Sequence[StoredEntry]:
        """Entries with a sequence above `after`, oldest first. Raises NotFound (POST_NOT_FOUND)."""
        await self._store.get(post_id)
        return await self._store.story(post_id, after, limit)

    def _late(self, bot: Bot) -> timedelta:
        return max_lateness(bot, self._lateness())


def _has_room(taken: Sequence[Taken], pace: Pace, slot: datetime, parts: int) -> bool:
    return Diary(taken).has_room(pace, slot, parts)


def _check_not_archived(bot: Bot) -> None:
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
