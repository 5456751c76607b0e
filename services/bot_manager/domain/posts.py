"""Use cases of posts: make, find, change, call off, try again, tell the story. What they write is said in `domain/rules.py`."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from mesh.clock import Clock
from mesh.errors import FailedPrecondition
from services.bot_manager.domain import rules
from services.bot_manager.domain.bots import max_lateness
from services.bot_manager.domain.lifecycle import PostEvent, next_state
from services.bot_manager.domain.listing import Page, Query
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import Bot, BotState, Change, Post, PostState, StoredEntry
from services.bot_manager.domain.versions import check_etag
from services.bot_manager.store.ports import BotStore, PostStore, RequestKey


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

    async def create(
        self, bot_id: str, draft: rules.Draft, actor: str, key: RequestKey | None, *, now: bool
    ) -> Post:
        """A draft, or a post that goes out at its time or, with `now`, at once.

        A repeat with the same key answers the first result, even if its time has passed meanwhile. Raises InvalidArgument
        (INVALID_FIELD, CONFLICTING_FIELD, TIME_IN_PAST, IDEMPOTENCY_KEY_REUSED), NotFound, FailedPrecondition.
        """
        moment = self._clock.now()
        first = await self._store.recall(key, moment) if key else None
        if first is not None:
            return first
        bot = await self._bots.get(bot_id)
        _check_not_archived(bot)
        parts = rules.parts_of(draft)
        if now:
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
        scheduled = moment if now else draft.scheduled_time
        post = await self._maker.ready(bot, post, scheduled, moment, {})
        change = rules.create(post, scheduled, self._late(bot))
        return await self._store.create(change.post, change.entries, key)

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
