"""What the rules are about: bots, posts with their parts, attempts, and the entries of a post's story.

All immutable; times are aware and in UTC. A `Document` is a JSON object that is kept and given back without being understood here
(ProtoJSON with the contract's own field names). Names of enum members are those of the contract without their prefix.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

Document = Mapping[str, Any]
ACTOR: Final = "bot_manager"
"""Who acts when nobody asked: the service itself, as the contract names it."""
WHOLE_POST: Final = -1
"""Part index of what concerns every part."""


class BotState(StrEnum):
    """See the contract's BotState."""

    DRAFT = "DRAFT"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    REAUTH_REQUIRED = "REAUTH_REQUIRED"
    SUSPENDED = "SUSPENDED"
    ARCHIVED = "ARCHIVED"


class PostState(StrEnum):
    """See the contract's PostState."""

    DRAFT = "DRAFT"
    PENDING_APPROVAL = "PENDING_APPROVAL"
    SCHEDULED = "SCHEDULED"
    CLAIMED = "CLAIMED"
    PUBLISHING = "PUBLISHING"
    PUBLISHED = "PUBLISHED"
    UNKNOWN = "UNKNOWN"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    MISSED = "MISSED"


class PartState(StrEnum):
    """See the contract's PostPartState."""

    PENDING = "PENDING"
    PUBLISHING = "PUBLISHING"
    PUBLISHED = "PUBLISHED"
    UNKNOWN = "UNKNOWN"
    FAILED = "FAILED"


class AttemptOutcome(StrEnum):
    """What came of one call to X; see the contract's AttemptOutcome."""

    ACCEPTED = "ACCEPTED"
    NOT_SENT = "NOT_SENT"
    REJECTED = "REJECTED"
    DEFERRED = "DEFERRED"
    UNKNOWN = "UNKNOWN"
    DUPLICATE = "DUPLICATE"


class Origin(StrEnum):
    """See the contract's PostOrigin."""

    MANUAL = "MANUAL"
    IMPORT = "IMPORT"
    SCHEDULE = "SCHEDULE"


class EntryKind(StrEnum):
    """Kinds of timeline entries; see the contract's TimelineKind."""

    CREATED = "CREATED"
    EDITED = "EDITED"
    APPROVAL_REQUESTED = "APPROVAL_REQUESTED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    SCHEDULED = "SCHEDULED"
    POLICY_CHECKED = "POLICY_CHECKED"
    DUE = "DUE"
    CLAIMED = "CLAIMED"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    DEFERRED = "DEFERRED"
    COST_RESERVED = "COST_RESERVED"
    COST_SETTLED = "COST_SETTLED"
    SECRET_LEASED = "SECRET_LEASED"  # noqa: S105 - the name of a kind, not a secret
    MEDIA_UPLOADED = "MEDIA_UPLOADED"
    ATTEMPT_STARTED = "ATTEMPT_STARTED"
    ATTEMPT_FINISHED = "ATTEMPT_FINISHED"
    RECONCILE_READ = "RECONCILE_READ"
    ADOPTED = "ADOPTED"
    PUBLISHED = "PUBLISHED"
    FAILED = "FAILED"
    MISSED = "MISSED"
    CANCELLED = "CANCELLED"
    RETRY_REQUESTED = "RETRY_REQUESTED"
    RESOLVED = "RESOLVED"


@dataclass(frozen=True, slots=True)
class StateDetail:
    """Why a bot is in its state. `reason` is an ErrorReason if a failure led here, `actor` a user id or ACTOR."""

    reason: str = ""
    message: str = ""
    actor: str = ""
    time: datetime | None = None


OAUTH1: Final = "OAUTH1"
OAUTH2: Final = "OAUTH2"
"""Kinds of credentials, as the contract names them."""


@dataclass(frozen=True, slots=True)
class CredentialsStatus:
    """What is known of stored credentials. `kind` is OAUTH1 or OAUTH2; `version` is secure_bot_data's."""

    kind: str
    version: int
    verified: bool
    verify_time: datetime | None = None
    expire_time: datetime | None = None
    scopes: tuple[str, ...] = ()
    failure_reason: str = ""


@dataclass(frozen=True, slots=True)
class Bot:
    """One X account under management."""

    id: str
    handle: str
    state: BotState
    create_time: datetime
    update_time: datetime
    version: int = 1
    display_name: str = ""
    time_zone: str = "UTC"
    language: str = ""
    app_id: str = ""
    x_user_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    automation: Document | None = None
    policy: Document | None = None
    budget: Document | None = None
    slots: tuple[Document, ...] = ()
    credentials: CredentialsStatus | None = None
    state_detail: StateDetail = StateDetail()
    creator: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One message of a thread. `rendered_text` is what its template became; empty where `text` is sent as it is."""

    index: int
    text: str
    state: PartState = PartState.PENDING
    x_post_id: str = ""
    publish_time: datetime | None = None
    media_ids: tuple[str, ...] = ()
    rendered_text: str = ""

    @property
    def sent_text(self) -> str:
        """What X is asked to show."""
        return self.rendered_text or self.text


class Severity(StrEnum):
    """How much a finding weighs; see the contract's FindingSeverity."""

    WARNING = "WARNING"
    ERROR = "ERROR"


class PolicyRule(StrEnum):
    """Rules that posts are held against; see the contract's PolicyRule."""

    EMPTY = "EMPTY"
    TOO_LONG = "TOO_LONG"
    DUPLICATE = "DUPLICATE"
    NEAR_DUPLICATE = "NEAR_DUPLICATE"
    CASHTAGS = "CASHTAGS"
    COLD_REPLY = "COLD_REPLY"
    MENTIONS = "MENTIONS"
    URL_PRICE = "URL_PRICE"
    MEDIA_MIX = "MEDIA_MIX"
    ALT_TEXT = "ALT_TEXT"
    AUTOMATION_LABEL = "AUTOMATION_LABEL"
    UNAVAILABLE_FEATURE = "UNAVAILABLE_FEATURE"
    TIMING = "TIMING"
    BUDGET = "BUDGET"
    TEMPLATE = "TEMPLATE"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a policy check found. `field` is a field of the part, or of the post where `part_index` is WHOLE_POST."""

    rule: PolicyRule
    severity: Severity
    message: str
    part_index: int = WHOLE_POST
    field: str = ""
    other_post_id: str = ""


class Decision(StrEnum):
    """See the contract's ApprovalDecision."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class Approval:
    """What a second person said of a post. `approver` and `time` are absent while PENDING."""

    decision: Decision
    approver: str = ""
    time: datetime | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a post did not go out. `reason` is an ErrorReason, `problem_type` the last segment of X's."""

    reason: str
    message: str
    time: datetime
    part_index: int = WHOLE_POST
    http_status: int = 0
    problem_type: str = ""
    problem_detail: str = ""


@dataclass(frozen=True, slots=True)
class Post:
    """A post with everything the ledger keeps of it. `content` is what goes out beside the texts (poll, reply, quote, …)."""

    id: str
    bot_id: str
    state: PostState
    parts: tuple[Part, ...]
    create_time: datetime
    update_time: datetime
    version: int = 1
    content: Document = field(default_factory=dict)
    queue: str = ""
    creator: str = ""
    editor: str = ""
    """Who last changed its content; empty if nobody but its creator has."""
    approval: Approval | None = None
    findings: tuple[Finding, ...] = ()
    cost_usd_micros: int = 0
    """Spent once PUBLISHED, expected before; millionths of a US dollar."""
    origin: Origin = Origin.MANUAL
    schedule_id: str = ""
    occurrence_time: datetime | None = None
    occurrence_item: int = 0
    """Place among the posts of one occurrence, from 0: a feed may give several. Unique for ever with schedule and nominal time."""
    scheduled_time: datetime | None = None
    latest_publish_time: datetime | None = None
    """As somebody gave it; None for the policy's."""
    miss_time: datetime | None = None
    """From then on the post is MISSED; None once a part is on X, or without a time."""
    due_time: datetime | None = None
    """When it may be claimed next; in UNKNOWN, when the account is read next."""
    publish_time: datetime | None = None
    failure: Failure | None = None
    claim_fence: int = 0
    """Fencing token: number of the last claim. Whoever holds a lower one is refused."""
    claimed_by: str = ""
    lease_end_time: datetime | None = None
    attempt_count: int = 0
    attempts_before: int = 0
    """Of these, how many were made before it was last scheduled by a person or got a part to X: they count against no limit."""
    entry_count: int = 0
    """Entries of its story so far."""

    @property
    def x_post_ids(self) -> tuple[str, ...]:
        """Ids on X of the parts published so far, in order."""
        return tuple(part.x_post_id for part in self.parts if part.x_post_id)

    @property
    def tries(self) -> int:
        """Attempts that count against the limit."""
        return self.attempt_count - self.attempts_before

    @property
    def next_part(self) -> Part | None:
        """The first part that is not on X; None if all are."""
        return next((part for part in self.parts if part.state is not PartState.PUBLISHED), None)


@dataclass(frozen=True, slots=True)
class Charge:
    """What was set aside for one call to X. `cost_usd_micros` counts for the bot and, if it has one, for its app.

    `daily_budget_usd_micros` is the tighter of their daily budgets, 0 if there is none, `counted_for` whose it is, and
    `today_usd_micros` what that one has used of the day with it. `probe`: the one call that tries whether X lets the app call again.
    """

    cost_usd_micros: int = 0
    app_id: str = ""
    counted_for: str = ""
    today_usd_micros: int = 0
    daily_budget_usd_micros: int = 0
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to X for one part: the intent, and once finished its outcome. `number` counts from 1 over all parts."""

    id: str
    post_id: str
    part_index: int
    number: int
    fence: int
    request_hash: str
    started_time: datetime
    charge: Charge = Charge()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call to X came to. `rate_limits` holds the rate-limit headers as X sent them."""

    outcome: AttemptOutcome
    http_status: int = 0
    problem_type: str = ""
    problem_detail: str = ""
    x_request_id: str = ""
    latency: timedelta = timedelta()
    x_post_id: str = ""
    rate_limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to a post, before it is stored. `details` are made by `domain/story.py`."""

    kind: EntryKind
    message: str
    actor: str = ACTOR
    part_index: int = WHOLE_POST
    details: Document = field(default_factory=dict)
    state: PostState | None = None
    """State of the post from then on; None means that in which the change ends."""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it was stored: its place in the story, when, by which process and for which call."""

    sequence: int
    time: datetime
    kind: EntryKind
    message: str
    actor: str
    instance: str
    state: PostState
    part_index: int
    request_id: str
    details: Document


@dataclass(frozen=True, slots=True)
class Change:
    """A post as it becomes, and what its story gains. The same post and no entries: nothing is written."""

    post: Post
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of a post, or the sum over several."""

    impressions: int = 0
    likes: int = 0
    reposts: int = 0
    replies: int = 0
    quotes: int = 0
    bookmarks: int = 0
    url_clicks: int = 0
    profile_clicks: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters of one part at one moment."""

    post_id: str
    x_post_id: str
    time: datetime
    counters: Counters
