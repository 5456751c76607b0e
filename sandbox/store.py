"""Accounts, posts, metrics and OAuth 2.0 grants: what this X knows. It enforces no rule of X; `posts` does that before it asks.

Ids are like X's: 63 bits, milliseconds since X's epoch shifted left by 22, strictly increasing even within one
millisecond or when the clock steps back. What was created when is read from the id, so id order is time order.

Keys are not stored but derived (HMAC-SHA256 from one random seed, per account), so the state file holds no
credential that a client uses. All accounts belong to one app, hence share the consumer key.

With a journal every change is written before it is applied, and a new store replays it.
"""

import base64
import hashlib
import hmac
import secrets
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import cast

from sandbox.clock import Clock
from sandbox.journal import Damaged, Journal, Record
from sandbox.oauth1 import Credentials
from sandbox.oauth2 import RECORDS, OAuth2

X_EPOCH_MILLISECONDS = 1_288_834_974_657
"""2010-11-04T01:42:54.657Z, where X's ids begin."""

METRICS = (
    "impression_count",
    "like_count",
    "repost_count",
    "reply_count",
    "quote_count",
    "bookmark_count",
    "url_link_clicks",
    "user_profile_clicks",
    "engagements",
)


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this X."""

    user_id: str
    handle: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Media:
    """Media that are whole; their bytes are not kept. Processing ends at `ready_ms`, and failed if `failure` says why."""

    id: str
    user_id: str
    category: str
    media_type: str
    size: int
    sha256: str
    created_ms: int
    ready_ms: int
    failure: str = ""
    failure_name: str = ""
    alt_text: str = ""


@dataclass(frozen=True, slots=True)
class Poll:
    """A poll as asked for."""

    options: tuple[str, ...]
    duration_minutes: int


@dataclass(frozen=True, slots=True)
class Draft:
    """The content of a post that does not exist yet; texts are as sent, not as returned."""

    text: str
    in_reply_to: str | None = None
    quote_of: str | None = None
    media_ids: tuple[str, ...] = ()
    poll: Poll | None = None
    reply_settings: str = "everyone"


@dataclass(frozen=True, slots=True)
class Post(Draft):
    """A post. `conversation_id` is the id of the first post of its thread."""

    id: str = ""
    user_id: str = ""
    created_ms: int = 0
    conversation_id: str = ""


class Store:
    """The state of the sandbox. Not thread-safe: one event loop uses it."""

    def __init__(
        self, clock: Clock, journal: Journal | None = None, access_token_seconds: int = 7200
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._seed = ""
        self._last_id = 0
        self._accounts: dict[str, Account] = {}
        self._by_handle: dict[str, Account] = {}
        self._by_token: dict[str, Credentials] = {}
        self._posts: dict[str, Post] = {}
        self._by_user: dict[str, list[Post]] = {}
        self._metrics: dict[str, dict[str, int]] = {}
        self.oauth2 = OAuth2(self._commit, clock, access_token_seconds)
        self._media: dict[str, Media] = {}
        for record in journal.load() if journal else ():
            self._apply(record)
        if not self._seed:
            self._commit({"record": "seed", "seed": secrets.token_hex(32)})

    def create_account(self, handle: str) -> tuple[Account, bool]:
        """The account with this handle (case does not matter), and whether it is new."""
        if existing := self._by_handle.get(handle.lower()):
            return existing, False
        user_id = self._next_id()
        account = Account(user_id, handle, _milliseconds_of_id(user_id))
        self._commit({"record": "account", **asdict(account)})
        return account, True

    def accounts(self) -> list[Account]:
        """Every account, oldest first."""
        return list(self._accounts.values())

    def account(self, user_id: str) -> Account | None:
        """The account with this id."""
        return self._accounts.get(user_id)

    def credentials(self, account: Account) -> Credentials:
        """The account's four OAuth 1.0a strings; always the same."""
        return Credentials(
            user_id=account.user_id,
            consumer_key=self._derive("consumer key", "", 25),
            consumer_secret=self._derive("consumer secret", "", 50),
            access_token=f"{account.user_id}-{self._derive('access token', account.user_id, 30)}",
            access_token_secret=self._derive("access token secret", account.user_id, 45),
        )

    def credentials_of_token(self, access_token: str) -> Credentials | None:
        """The credentials this access token belongs to."""
        return self._by_token.get(access_token)

    def add_post(self, user_id: str, draft: Draft) -> Post:
        """Publish a draft now."""
        post_id = self._next_id()
        answered = self._posts.get(draft.in_reply_to or "")
        post = Post(
            **{name: getattr(draft, name) for name in Draft.__dataclass_fields__},
            id=post_id,
            user_id=user_id,
            created_ms=_milliseconds_of_id(post_id),
            conversation_id=answered.conversation_id if answered else post_id,
        )
        self._commit({"record": "post", **asdict(post)})
        return post

    def delete_post(self, post_id: str) -> None:
        """Forget a post that exists."""
        self._commit({"record": "delete", "id": post_id})

    def post(self, post_id: str) -> Post | None:
        """The post with this id, unless deleted."""
        return self._posts.get(post_id)

    def posts(self, user_id: str | None = None) -> list[Post]:
        """Posts of one user or of everybody, oldest first."""
        return list(self._posts.values()) if user_id is None else list(self._by_user.get(user_id, ()))

    def posts_since(self, user_id: str, seconds: float) -> list[Post]:
        """The user's posts of the last `seconds`, oldest first."""
        mine = self._by_user.get(user_id, [])
        return mine[bisect_left(mine, self._now_ms() - seconds * 1000, key=lambda post: post.created_ms) :]

    def metrics(self, post_id: str) -> dict[str, int]:
        """Every metric of a post; those never set are 0."""
        return dict.fromkeys(METRICS, 0) | self._metrics.get(post_id, {})

    def set_metrics(self, post_id: str, changes: Mapping[str, int]) -> None:
        """Set some metrics (names in METRICS) of a post that exists; the others stay."""
        self._commit({"record": "metrics", "id": post_id, "metrics": dict(changes)})

    def new_id(self) -> tuple[str, int]:
        """An id for something that is not stored yet, and the milliseconds in it."""
        made = self._next_id()
        return made, _milliseconds_of_id(made)

    def add_media(self, media: Media) -> None:
        """Keep media that are whole."""
        self._commit({"record": "media", **asdict(media)})

    def media(self, media_id: str) -> Media | None:
        """The media with this id, old ones too."""
        return self._media.get(media_id)

    def all_media(self) -> list[Media]:
        """Everybody's, oldest first."""
        return list(self._media.values())

    def describe_media(self, media_id: str, alt_text: str) -> None:
        """Set the alternative text of media that exist."""
        self._commit({"record": "media_text", "id": media_id, "alt_text": alt_text})

    def close(self) -> None:
        """Close the journal; the store is not used afterwards."""
        if self._journal:
            self._journal.close()

    def _commit(self, record: Record) -> None:
        if self._journal:
            self._journal.append(record)
        self._apply(record)

    def _apply(self, record: Mapping[str, object]) -> None:
        fields = {name: value for name, value in record.items() if name != "record"}
        try:
            match record.get("record"):
                case "seed":
                    self._seed = cast("str", fields["seed"])
                case "account":
                    self._apply_account(Account(**fields))  # type: ignore[arg-type]  # a wrong field is Damaged below
                case "post":
                    self._apply_post(_post(fields))
                case "delete":
                    post = self._posts.pop(cast("str", fields["id"]))
                    self._by_user[post.user_id].remove(post)
                    self._metrics.pop(post.id, None)
                case "metrics":
                    changes = cast("dict[str, int]", fields["metrics"])
                    self._metrics.setdefault(cast("str", fields["id"]), {}).update(changes)
                case kind if kind in RECORDS:
                    self.oauth2.apply(record)
                case "media":
                    media = Media(**fields)  # type: ignore[arg-type]  # a wrong field is Damaged below
                    self._media[media.id] = media
                    self._last_id = max(self._last_id, int(media.id))
                case "media_text":
                    media_id = cast("str", fields["id"])
                    text = cast("str", fields["alt_text"])
                    self._media[media_id] = replace(self._media[media_id], alt_text=text)
                case unknown:
                    raise Damaged(f"the state file holds an unknown record {unknown!r}")
        except (TypeError, KeyError, ValueError) as error:
            raise Damaged(f"the state file holds a broken record: {type(error).__name__} {error}") from error

    def _apply_account(self, account: Account) -> None:
        self._accounts[account.user_id] = self._by_handle[account.handle.lower()] = account
        credentials = self.credentials(account)
        self._by_token[credentials.access_token] = credentials
        self._last_id = max(self._last_id, int(account.user_id))

    def _apply_post(self, post: Post) -> None:
        self._posts[post.id] = post
        self._by_user.setdefault(post.user_id, []).append(post)
        self._last_id = max(self._last_id, int(post.id))

    def _derive(self, purpose: str, user_id: str, length: int) -> str:
        digest = hmac.digest(bytes.fromhex(self._seed), f"{purpose}\0{user_id}".encode(), hashlib.sha512)
        letters = base64.b64encode(digest).decode().replace("+", "").replace("/", "").rstrip("=")
        return letters[:length]

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _next_id(self) -> str:
        self._last_id = max(self._last_id + 1, (self._now_ms() - X_EPOCH_MILLISECONDS) << 22)
        return str(self._last_id)


def _milliseconds_of_id(made: str) -> int:
    return (int(made) >> 22) + X_EPOCH_MILLISECONDS


def _post(fields: dict[str, object]) -> Post:
    poll = cast("dict[str, object] | None", fields.pop("poll"))
    media_ids = tuple(cast("list[str]", fields.pop("media_ids")))
    return Post(
        **fields,  # type: ignore[arg-type]  # a record that was not written from a Post is Damaged
        media_ids=media_ids,
        poll=Poll(tuple(cast("list[str]", poll["options"])), cast("int", poll["duration_minutes"]))
        if poll
        else None,
    )
