"""What this service asks of X, in terms of its own.

`create_post` never raises: whatever happens to the call is an `Outcome`, because a lost answer is one too. Reading raises MeshError:

    FailedPrecondition   X_CREDENTIALS_REJECTED, X_ACCOUNT_SUSPENDED, or X_REJECTED (the app or its scope does not allow it, wrong request)
    ResourceExhausted    X_RATE_LIMITED (with `retry_after`), X_CREDITS_DEPLETED
    Unavailable          X_UNAVAILABLE (no connection, no answer, 5xx, or an answer that cannot be read)

with `httpStatus`, `problemType` and `xRequestId` in the metadata where X told them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from mesh.secret import Secret
from services.bot_manager.domain.outcomes import Outcome

METRICS_BATCH: Final = 100
"""Posts that one look-up may name (X: GET /2/tweets)."""


@dataclass(frozen=True, slots=True)
class OAuth1Credentials:
    """The four strings of OAuth 1.0a user context. Never printed: each is a Secret."""

    consumer_key: Secret
    consumer_secret: Secret
    access_token: Secret
    access_token_secret: Secret

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> "OAuth1Credentials":
        """From the fields of a stored secret. Raises ValueError naming those that are missing or empty."""
        missing = [name for name in OAUTH1_FIELDS if not fields.get(name)]
        if missing:
            raise ValueError(f"the secret lacks {', '.join(missing)}")
        return cls(*(Secret(fields[name]) for name in OAUTH1_FIELDS))


OAUTH1_FIELDS: Final = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
"""Names of the fields of an OAuth 1.0a secret, in the order of `OAuth1Credentials`."""


@dataclass(frozen=True, slots=True)
class OAuth2Credentials:
    """An access token of OAuth 2.0 user context. `scopes` as granted; empty where not known."""

    access_token: Secret
    scopes: frozenset[str] = frozenset()


def scopes_of(text: str) -> frozenset[str]:
    """The scopes in X's own list of them."""
    return frozenset(text.split())


XCredentials = OAuth1Credentials | OAuth2Credentials
"""What a call to X is made with."""


@dataclass(frozen=True, slots=True)
class XAccount:
    """Who the credentials belong to. `handle` is without "@"."""

    user_id: str
    handle: str


@dataclass(frozen=True, slots=True)
class XPoll:
    """A poll under a post."""

    options: tuple[str, ...]
    duration: timedelta


@dataclass(frozen=True, slots=True)
class XPostDraft:
    """One post as X shall take it. Empty text and ids mean none; `reply_settings` is X's word, empty for everyone."""

    text: str
    reply_to: str = ""
    quote_of: str = ""
    poll: XPoll | None = None
    media_ids: tuple[str, ...] = ()
    reply_settings: str = ""
    community_id: str = ""
    made_with_ai: bool = False
    paid_partnership: bool = False


@dataclass(frozen=True, slots=True)
class XMetrics:
    """Counters of one post at this moment. `private`: X told the clicks as well; else they are 0."""

    impressions: int
    likes: int
    reposts: int
    replies: int
    quotes: int
    bookmarks: int
    url_clicks: int = 0
    profile_clicks: int = 0
    private: bool = False


@dataclass(frozen=True, slots=True)
class XMetricsRead:
    """What a look-up told: counters by id on X, and the ids that X says are gone. An id in neither was not answered."""

    metrics: Mapping[str, XMetrics]
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class XPost:
    """A post as the account's timeline shows it; in `text` HTML entities are resolved and t.co links expanded."""

    x_post_id: str
    text: str
    create_time: datetime
    reply_to: str = ""
    quote_of: str = ""
    media_count: int = 0
    poll: bool = False


@dataclass(frozen=True, slots=True)
class XTimeline:
    """Posts of an account, newest first. `complete`: nothing of the span asked for is missing, so that absence counts."""

    posts: Sequence[XPost] = field(default=())
    complete: bool = True


class XProcessing(StrEnum):
    """How far X is with a file that it has whole."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class XMedia:
    """A file at X. `check_after`: when to ask again; `expires_after`: how long a post may name it; None where X did not say.

    `failure` holds X's words where it FAILED; `retryable`: the fault was X's own.
    """

    x_media_id: str
    processing: XProcessing = XProcessing.SUCCEEDED
    check_after: timedelta | None = None
    expires_after: timedelta | None = None
    failure: str = ""
    retryable: bool = False


class XMediaPort(Protocol):
    """Bringing a file to X. Nobody sees what is done here, so each call may be repeated. All raise as the module says."""

    async def initialize(
        self, credentials: XCredentials, content_type: str, category: str, size: int
    ) -> XMedia:
        """Announce a file of `size` bytes. `category` is X's: tweet_image, tweet_gif or tweet_video."""
        ...

    async def append(self, credentials: XCredentials, x_media_id: str, index: int, data: bytes) -> None:
        """Send a segment of at most 1 MiB; they are numbered from 0 to 999."""
        ...

    async def finalize(self, credentials: XCredentials, x_media_id: str) -> XMedia:
        """All segments are there."""
        ...

    async def media_status(self, credentials: XCredentials, x_media_id: str) -> XMedia:
        """How far X is."""
        ...

    async def describe(self, credentials: XCredentials, x_media_id: str, alt_text: str) -> None:
        """Set the text for those who cannot see it."""
        ...


class XPort(Protocol):
    """The few calls to X. Every one has a time limit and may be in flight hundreds of times."""

    async def get_me(self, credentials: XCredentials) -> XAccount:
        """Whose credentials these are. Raises as the module says."""
        ...

    async def create_post(self, credentials: XCredentials, draft: XPostDraft) -> Outcome:
        """Send a post, once: never repeated here, redirects not followed. Never raises but for cancellation."""
        ...

    async def get_metrics(self, credentials: XCredentials, x_post_ids: Sequence[str]) -> XMetricsRead:
        """Counters of up to METRICS_BATCH of the account's own posts. Raises ValueError beyond, and as the module says."""
        ...

    async def own_posts(
        self, credentials: XCredentials, user_id: str, since: datetime, limit: int = 100
    ) -> XTimeline:
        """The account's posts from `since` on, at most about `limit` of the newest. Raises as the module says."""
        ...
