"""How a person settles a post of unknown outcome: the caller's side of `domain/reconciling.py`.

A person's word is better than any rule, but not than the record: an id that belongs to another part is refused. Who says "send it again"
grants it all tries anew, and a new latest time where the old one has passed, as RetryPost does; else it would be MISSED at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, InvalidArgument
from services.bot_manager.domain import ledger, story
from services.bot_manager.domain.bots import max_lateness
from services.bot_manager.domain.lifecycle import PostEvent, allows
from services.bot_manager.domain.model import Change, Entry, EntryKind, Failure, Post, PostState
from services.bot_manager.domain.reconciling import SKEW
from services.bot_manager.domain.versions import check_etag
from services.bot_manager.store.ports import BotStore, PostStore, RequestKey

X_EPOCH: Final = datetime(2010, 11, 4, 1, 42, 54, 657_000, tzinfo=UTC)
"""Where the times in X's ids begin: milliseconds since then, above the lowest 22 bits."""


class Resolution(StrEnum):
    """See the contract's PostResolution."""

    PUBLISHED = "PUBLISHED"
    SEND_AGAIN = "SEND_AGAIN"
    GIVE_UP = "GIVE_UP"


@dataclass(frozen=True, slots=True)
class Word:
    """What a person says of a post. `x_post_id` counts with PUBLISHED only."""

    resolution: Resolution
    actor: str
    x_post_id: str = ""
    comment: str = ""


class Resolving:
    """The use case. `lateness` is how late a post may go out where its bot's policy does not say."""

    def __init__(
        self, store: PostStore, bots: BotStore, clock: Clock, lateness: Callable[[], timedelta]
    ) -> None:
        self._store = store
        self._bots = bots
        self._clock = clock
        self._lateness = lateness

    async def resolve(self, post_id: str, etag: str, word: Word, key: RequestKey | None) -> Post:
        """Settle it. A repeat with the same key answers the post as it is.

        Raises NotFound, Aborted, InvalidArgument (INVALID_FIELD, IDEMPOTENCY_KEY_REUSED), FailedPrecondition (INVALID_STATE).
        """
        if word.resolution is Resolution.PUBLISHED and not word.x_post_id:
            raise InvalidArgument("INVALID_FIELD", "the id of the post on X is missing", field="x_post_id")
        bot = await self._bots.get((await self._store.get(post_id)).bot_id)
        lateness = max_lateness(bot, self._lateness())
        now = self._clock.now()

        def edit(post: Post) -> Change:
            check_etag(etag, post.version)
            return resolve(post, word, now, lateness)

        return await self._store.change(post_id, edit, now, key)


def resolve(post: Post, word: Word, now: datetime, lateness: timedelta) -> Change:
    """The post as the person's word makes it. Raises FailedPrecondition (INVALID_STATE) unless it is UNKNOWN."""
    part = post.next_part
    if part is None or not allows(post.state, PostEvent.ABANDON):
        raise FailedPrecondition(
            "INVALID_STATE",
            f"only a post in state UNKNOWN is settled by a person; this one is {post.state}",
            metadata={"state": post.state.value, "event": "RESOLVE"},
        )
    match word.resolution:
        case Resolution.PUBLISHED:
            made = time_of(word.x_post_id)
            made = made if post.create_time - SKEW <= made <= now else now
            change = ledger.accept(post, part.index, word.x_post_id, made, now, None)
            told = "a person found it on X"
        case Resolution.SEND_AGAIN:
            change = _again(post, now, lateness)
            told = "a person says that X does not have it; it goes out again"
        case Resolution.GIVE_UP:
            told = "a person says that X does not have it, and that it shall not go out again"
            failure = Failure("X_OUTCOME_UNKNOWN", told, now, part.index)
            change = ledger.fail(post, PostEvent.ABANDON, failure, part.index)
    given = word.x_post_id if word.resolution is Resolution.PUBLISHED else ""
    entry = Entry(
        EntryKind.RESOLVED,
        told,
        word.actor,
        part_index=part.index,
        details=story.decision_detail(
            word.comment, resolution=f"POST_RESOLUTION_{word.resolution}", x_post_id=given
        ),
        state=PostState.UNKNOWN if change.entries else None,
    )
    return Change(change.post, (entry, *change.entries))


def time_of(x_post_id: str) -> datetime:
    """When X made the post, which its id tells."""
    return X_EPOCH + timedelta(milliseconds=int(x_post_id) >> 22)


def _again(post: Post, now: datetime, lateness: timedelta) -> Change:
    settled = replace(post, attempts_before=post.attempt_count)
    if post.miss_time is not None and post.miss_time <= now:
        settled = replace(settled, miss_time=now + lateness, latest_publish_time=None)
    change = ledger.send_again(settled, settled.claim_fence, now)
    if change is None:
        raise FailedPrecondition("INVALID_STATE", "the post has moved on")
    return change
