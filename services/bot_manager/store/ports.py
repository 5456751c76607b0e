"""What rules, publisher and servicers ask of the record. Each method of PostLedger and BotStore is one transaction.

How a post travels, and who holds what:

    claim_due        SCHEDULED → CLAIMED, fence + 1, lease starts; the action for a worker leaves through the outbox
    take             the worker that got the action makes the claim its own: fence + 1, so that a second delivery is refused
    begin_attempts   the intent is committed: CLAIMED → PUBLISHING, lease renewed. X may be called after this returned, never before
    finish_attempts  what X answered: → PUBLISHED, CLAIMED (the next part), SCHEDULED, FAILED or UNKNOWN
    release, give_up put off or refused before X was called
    reap_leases      CLAIMED → SCHEDULED, PUBLISHING → UNKNOWN, when a lease has ended
    miss_late        SCHEDULED → MISSED

Whoever acts on a claim shows its fence; if the post has moved on, nothing is written and the answer says so. All methods of the
ledger take many posts at once, so that a busy publisher commits once a batch. Times come from the caller's clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.listing import Page, Query
from services.bot_manager.domain.model import (
    Answer,
    Attempt,
    Bot,
    Change,
    Counters,
    CredentialsStatus,
    Entry,
    Failure,
    Post,
    PostState,
    Reading,
    StoredEntry,
)
from services.bot_manager.domain.retry import Hold
from services.bot_manager.domain.slots import Taken

PUBLISH_SUBJECT = "actions.bot_manager.publish"
"""Subject of the action that tells a worker of claims; payload: `Claim.to_payload`."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of one post: what a worker needs to take it."""

    post_id: str
    bot_id: str
    fence: int

    @staticmethod
    def to_payload(claims: "Sequence[Claim]") -> bytes:
        """The payload of an action: a line of three words for each claim."""
        return "\n".join(f"{one.post_id} {one.bot_id} {one.fence}" for one in claims).encode()

    @classmethod
    def from_payload(cls, payload: bytes) -> "list[Claim]":
        """Raises ValueError for anything that `to_payload` does not write."""
        lines = [line.split(" ") for line in payload.decode("ascii").split("\n")]
        return [cls(post_id, bot_id, int(fence)) for post_id, bot_id, fence in lines]


@dataclass(frozen=True, slots=True)
class ClaimedPost:
    """A post that the caller holds until `post.lease_end_time`, with its bot. `post.claim_fence` is the fence to show."""

    post: Post
    bot: Bot


@dataclass(frozen=True, slots=True)
class Intent:
    """The wish to send one part now. `fence` is that of the claim as taken."""

    post_id: str
    part_index: int
    fence: int
    request_hash: str


class Refusal(StrEnum):
    """Why an intent is not written."""

    STALE = "STALE"
    """The claim is somebody else's by now, or the post has moved on. Drop it."""
    BOT_NOT_ACTIVE = "BOT_NOT_ACTIVE"
    """The bot was stopped meanwhile. Release the post; it waits."""
    APP_PAUSED = "APP_PAUSED"
    """The bot's app was stopped meanwhile. Release the post; it waits."""
    TOO_LATE = "TOO_LATE"
    """`miss_time` has passed. Release the post; it will be MISSED."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Why an intent is not written now, and when it may be: a limit, a budget, an open circuit breaker. Release the post until then.

    `reason` is an ErrorReason, `message` for people, `operation` the limit that is used up, if it was one.
    """

    until: datetime
    reason: str
    message: str
    operation: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """What a call came to, and what follows.

    ACCEPTED: `answer.x_post_id` is set. NOT_SENT and DEFERRED: again at `next_time`, or FAILED with `failure` when that is given.
    REJECTED: FAILED with `failure`. DUPLICATE: FAILED with `failure` when that is given, else as UNKNOWN. UNKNOWN: the account is
    read at `next_time`; `failure` may say what happened. `hold`: X refuses further calls too, of the bot or of its app.
    """

    attempt: Attempt
    answer: Answer
    next_time: datetime | None = None
    failure: Failure | None = None
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A post given back before X was called: to be claimed again at `due_time`. `reason` is an ErrorReason, `message` for people.

    `operation` is the limit that is used up, if it was one.
    """

    post_id: str
    fence: int
    due_time: datetime
    reason: str
    message: str
    operation: str = ""


class PostLedger(Protocol):
    """The publisher's side of posts."""

    async def claim_due(self, worker: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Claim]:
        """Claim up to `limit` posts of ACTIVE bots whose `due_time` has come and `miss_time` has not, the longest due first."""
        ...

    async def take(
        self, claims: Sequence[Claim], worker: str, now: datetime, lease: timedelta
    ) -> Sequence[ClaimedPost]:
        """Make claims the worker's own. Those that have ended are left out: drop their actions."""
        ...

    async def begin_attempts(
        self, intents: Sequence[Intent], worker: str, now: datetime, lease: timedelta
    ) -> Sequence[Attempt | Refusal | Wait]:
        """Commit the intents, each as an attempt or a refusal, in their order. An attempt has its cost and its calls set aside."""
        ...

    async def finish_attempts(
        self, finishes: Sequence[Finish], now: datetime, lease: timedelta
    ) -> Sequence[Post | None]:
        """Commit outcomes; the posts after, in their order, None where the post had moved on and only the attempt was noted.

        What was set aside is booked or given back, unless the outcome is unknown. `lease` is how long the worker then has for the next part of a thread. A late answer settles an UNKNOWN of the same fence.
        """
        ...

    async def release(self, releases: Sequence[Release], now: datetime) -> int:
        """Give posts back. How many were still held."""
        ...

    async def give_up(self, post_id: str, fence: int, failure: Failure, now: datetime) -> bool:
        """Refuse a claimed post before X was called: FAILED. False if the claim has ended."""
        ...

    async def note(self, post_id: str, fence: int, entries: Sequence[Entry], now: datetime) -> bool:
        """Add entries to the story of a post that is held (secret leased, cost reserved). False if the claim has ended."""
        ...

    async def reap_leases(self, now: datetime, limit: int) -> Mapping[str, PostState]:
        """End leases that are over; the posts' states after, by id."""
        ...

    async def miss_late(self, now: datetime, limit: int) -> Sequence[str]:
        """Mark posts MISSED whose latest time has passed; their ids."""
        ...

    async def unknown_due(self, now: datetime, limit: int, bot_id: str = "") -> Sequence[ClaimedPost]:
        """Posts in UNKNOWN whose account is to be read now, the longest due first; only of one bot if it is given. Takes no lease.

        Not of bots whose credentials X refuses, nor of those that a person stopped: for them no call to X begins at all.
        """
        ...

    async def note_reconcile(
        self,
        post_id: str,
        fence: int,
        entry: Entry,
        next_time: datetime | None,
        now: datetime,
        failure: Failure | None = None,
    ) -> bool:
        """Note a look at the account and when the next one is; without a time a person has to decide, as `failure` says.

        False if the post is not in UNKNOWN with this fence any more.
        """
        ...

    async def adopt(
        self,
        post_id: str,
        fence: int,
        part_index: int,
        x_post_id: str,
        publish_time: datetime,
        now: datetime,
        look: Entry | None = None,
    ) -> Post | None:
        """The part of a post in UNKNOWN was found on X: PUBLISHED, or SCHEDULED for the parts after it. None if the post has moved on.

        Raises AlreadyExists (INVALID_STATE) if the post on X belongs to another part here.
        """
        ...

    async def send_again(
        self, post_id: str, fence: int, now: datetime, look: Entry | None = None
    ) -> Post | None:
        """X surely does not have the part of a post in UNKNOWN: SCHEDULED for now. None if the post has moved on."""
        ...

    async def note_waiting(
        self, entry: Entry, now: datetime, after: datetime | None, limit: int
    ) -> datetime | None:
        """Tell posts that are due why they wait: the entry, unless it is a post's last already, to those due later than `after`.

        The due time up to which all have been told; None if there was nobody to tell.
        """
        ...

    async def oldest_overdue(self, now: datetime) -> datetime | None:
        """The earliest `due_time` that has passed among posts of ACTIVE bots still SCHEDULED; None if there is none."""
        ...

    async def next_due(self, now: datetime) -> datetime | None:
        """When the next post after `now` is due; None if none is."""
        ...


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a request id was used for before."""

    request_hash: bytes
    response_id: str


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A client's request id for one method and actor, with the hash of what it asked."""

    request_id: str
    method: str
    actor: str
    request_hash: bytes


class BotStore(Protocol):
    """Bots."""

    async def create(self, bot: Bot, key: RequestKey | None) -> Bot:
        """Store a new bot, or answer the one that the key made before.

        Raises AlreadyExists (HANDLE_TAKEN), InvalidArgument (IDEMPOTENCY_KEY_REUSED).
        """
        ...

    async def get(self, bot_id: str) -> Bot:
        """Raises NotFound (BOT_NOT_FOUND)."""
        ...

    async def list(self, query: Query) -> Page[Bot]: ...

    async def change(
        self,
        bot_id: str,
        edit: Callable[[Bot], Bot],
        now: datetime,
        *,
        settled: bool = False,
        concludes: bool = True,
    ) -> Bot:
        """Replace the bot by `edit(bot)` under its lock; unchanged if that returns the same object, else version + 1.

        A change that pauses or archives it puts it on the list of `LeaseEndings` in the same transaction, and one that archives it on that
        of `SecretDestructions`.
        `settled`: refuse (FailedPrecondition INVALID_STATE) while a post of it is CLAIMED, PUBLISHING or UNKNOWN, and cancel those that
        wait. Raises NotFound (BOT_NOT_FOUND), AlreadyExists (HANDLE_TAKEN, X_ACCOUNT_TAKEN), and what `edit` raises.
        """
        ...

    async def holder_of(self, x_user_id: str) -> str:
        """Id of the bot, not archived, that manages this account on X; empty if none does."""
        ...

    async def delete(self, bot_id: str, now: datetime) -> None:
        """Delete an archived bot with everything that belongs to it, and put its secrets on the list of `SecretDestructions`.

        Raises NotFound (BOT_NOT_FOUND), FailedPrecondition (INVALID_STATE) while a post of it is CLAIMED, PUBLISHING or UNKNOWN.
        """
        ...

    async def apply(self, bot_id: str, event: BotEvent, now: datetime, reason: str, message: str) -> Bot:
        """Bring the bot's state in line with what X said; an event that the table lacks for its state changes nothing.

        For the publisher: REFUSE_CREDENTIALS and SUSPEND. Raises NotFound (BOT_NOT_FOUND).
        """
        ...

    async def note_credentials(self, bot_id: str, status: CredentialsStatus, now: datetime) -> None:
        """Replace what is known of the credentials."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseEnding:
    """The wish to end a bot's leases because it was stopped. `again`: they were ended once. `stopped`: the bot still is."""

    id: str
    bot_id: str
    reason: str
    again: bool
    stopped: bool


class LeaseEndings(Protocol):
    """Stopped bots whose leases are to be ended: at once, and once more when none from before the stop can come any more."""

    async def due(self, limit: int) -> Sequence[LeaseEnding]:
        """Those whose turn it is, oldest first."""
        ...

    async def done(self, ending: LeaseEnding) -> None:
        """The leases are ended. Nothing happens if the bot was stopped anew meanwhile: that ending is still to come."""
        ...


@dataclass(frozen=True, slots=True)
class SecretDestruction:
    """The wish to destroy the secrets of a bot that is no more. `again`: they were destroyed once. `kind` of its credentials, or empty."""

    id: str
    bot_id: str
    kind: str
    reason: str
    again: bool


class SecretDestructions(Protocol):
    """Archived and deleted bots: their secrets go at once, and what was stored late goes once more after that."""

    async def due(self, limit: int) -> Sequence[SecretDestruction]:
        """Those whose turn it is, oldest first."""
        ...

    async def done(self, destruction: SecretDestruction) -> None:
        """The secrets are destroyed."""
        ...


@dataclass(frozen=True, slots=True)
class OAuthConnect:
    """An account that is being connected. `verifier` is a ciphertext; only the hash of the state is kept."""

    id: str
    bot_id: str
    state_hash: bytes
    verifier: str
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    return_path: str
    creator: str
    create_time: datetime
    expire_time: datetime


class OAuthConnects(Protocol):
    """Connect flows that wait for X's callback, at most one a bot."""

    async def begin(self, connect: OAuthConnect) -> None:
        """Keep it; the one before it for the same bot ends."""
        ...

    async def take(self, state_hash: bytes) -> OAuthConnect | None:
        """The flow of this state, which nobody else can take any more; None if there is none."""
        ...


class SlotTaken(Exception):
    """Another post was faster; look for the next slot."""


class PostStore(Protocol):
    """The callers' side of posts."""

    async def create(
        self,
        post: Post,
        entries: Sequence[Entry],
        key: RequestKey | None,
        fits: Callable[[Sequence[Taken]], bool] | None = None,
    ) -> Post:
        """Store a new post with the beginning of its story, or answer the one that the key made before.

        `fits` is asked with the posts that take the bot's slots, while no other post can take one with `fits`.
        Raises InvalidArgument (IDEMPOTENCY_KEY_REUSED), SlotTaken if it says no; nothing is stored then.
        """
        ...

    async def taken(self, bot_id: str, since: datetime) -> Sequence[Taken]:
        """See `domain.slots.SlotStore`."""
        ...

    async def recall(self, key: RequestKey, now: datetime) -> Post | None:
        """What the key stands for, to answer a repeat before anything else is checked. Raises InvalidArgument (IDEMPOTENCY_KEY_REUSED)."""
        ...

    async def get(self, post_id: str) -> Post:
        """Raises NotFound (POST_NOT_FOUND)."""
        ...

    async def list(self, query: Query) -> Page[Post]: ...

    async def change(
        self,
        post_id: str,
        edit: Callable[[Post], Change],
        now: datetime,
        key: RequestKey | None = None,
    ) -> Post:
        """Replace the post by `edit(post)` under its lock. Raises NotFound (POST_NOT_FOUND), FailedPrecondition (INVALID_STATE) for an id
        on X that another part has, and what `edit` raises.

        With a key that was used before `edit` is not called and the post is answered as it is.
        """
        ...

    async def delete(self, post_id: str, check: Callable[[Post], None], now: datetime) -> None:
        """Delete the post unless `check` raises. Raises NotFound (POST_NOT_FOUND)."""
        ...

    async def story(self, post_id: str, after: int, limit: int) -> Sequence[StoredEntry]:
        """Entries with a sequence above `after`, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class PublishedPart:
    """A part that is on X: what statistics are read for."""

    post_id: str
    part_index: int
    x_post_id: str
    publish_time: datetime


class MetricStore(Protocol):
    """Readings of counters."""

    async def published_parts(
        self, bot_id: str, since: datetime, limit: int, post_ids: Sequence[str] = ()
    ) -> Sequence[PublishedPart]:
        """Parts published from `since` on and not known to be gone, newest first; only of `post_ids` if there are any."""
        ...

    async def add(self, readings: Sequence[Reading], *, private: bool = True) -> None:
        """Store readings; one with the same part and time is kept as it is. `private`: clicks were read as well."""
        ...

    async def mark_gone(self, x_post_ids: Sequence[str], now: datetime) -> Sequence[str]:
        """X says that these are deleted; ids of their posts."""
        ...

    async def of_post(
        self, post_id: str, start: datetime | None, end: datetime | None, limit: int
    ) -> Sequence[Reading]:
        """Readings of all parts in the span, the latest `limit`, earliest first."""
        ...

    async def latest_of_post(self, post_id: str) -> Sequence[Reading]:
        """The last reading of each part."""
        ...

    async def gone(self, post_id: str) -> bool:
        """Whether X says that a part of the post is deleted."""
        ...

    async def latest_of_bot(
        self, bot_id: str, start: datetime, end: datetime
    ) -> tuple[int, Counters, datetime | None]:
        """Of the posts published in the span: how many, the sum of their parts' last counters, when X was last read."""
        ...

    async def of_bot(self, bot_id: str, start: datetime, end: datetime) -> Sequence[Reading]:
        """Readings in the span by time, after the last one of each part from before it."""
        ...

    async def gone_since(self, bot_id: str, since: datetime) -> Sequence[str]:
        """Posts of the bot of which X said from then on that a part is deleted."""
        ...

    async def foreign(self, bot_id: str, post_ids: Sequence[str]) -> Sequence[str]:
        """Those of the ids that are no posts of the bot."""
        ...
